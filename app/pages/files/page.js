// What the pages behind links in mails do: nothing, until their button is pressed.
(function () {
  "use strict";

  const form = document.getElementById("form");
  const problem = document.getElementById("problem");
  const button = document.getElementById("do");
  const needsToken = "token" in form.dataset;
  const token = new URLSearchParams(location.hash.slice(1)).get("token");

  // Not in the history, not on the screen, and not in what a browser shares with other devices.
  history.replaceState(null, "", location.pathname);
  if (needsToken && !token) show("invalid");

  form.addEventListener("submit", async function (event) {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    const body = Object.fromEntries(new FormData(form));
    if (needsToken) body.token = token;
    if ("cookie" in form.dataset) body.mode = "cookie";
    try {
      const answer = await fetch(form.dataset.call, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      if (answer.ok) return show("done");
      const said = await answer.json();
      if (said.code === "link_invalid") return show("invalid");
      problem.textContent = said.detail || "Something went wrong: try again later.";
    } catch (error) {
      problem.textContent = "The server does not answer: try again later.";
    } finally {
      button.disabled = false;
    }
  });

  function show(id) {
    form.hidden = true;
    document.getElementById(id).hidden = false;
  }
})();
