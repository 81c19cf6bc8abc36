// What the pages behind links in mails do: nothing, until one of their buttons is pressed.
(function () {
  "use strict";

  const form = document.getElementById("form");
  const problem = document.getElementById("problem");
  const needsToken = "token" in form.dataset;
  const token = new URLSearchParams(location.hash.slice(1)).get("token");

  // Not in the history, not on the screen, and not in what a browser shares with other devices.
  history.replaceState(null, "", location.pathname);
  if (needsToken && !token) show("invalid");

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(form));
    if (needsToken) body.token = token;
    if ("cookie" in form.dataset) body.mode = "cookie";
    ask(form.dataset.call, body, "done", "asUser" in form.dataset);
  });
  press("refuse", "refused");
  press("again", "asked");

  function press(id, shows) {
    const button = document.getElementById(id);
    if (button) button.addEventListener("click", () => ask(button.dataset.call, { token: token }, shows, false));
  }

  async function ask(call, body, shows, asUser) {
    problem.textContent = "";
    disable(true);
    try {
      const headers = asUser ? await authorization() : {};
      if (!headers) return reveal("sign-in");
      const answer = await post(call, body, headers);
      if (answer.ok) return show(shows);
      const said = await answer.json();
      if (said.code === "link_invalid") return show("invalid");
      if (said.askAgain) return show("late");
      problem.textContent = said.detail || "Something went wrong: try again later.";
    } catch (error) {
      problem.textContent = "The server does not answer: try again later.";
    } finally {
      disable(false);
    }
  }

  // An access token for whoever is signed in here (app/api/cookies.py), or null.
  async function authorization() {
    const csrf = /(?:^|; )maycole_csrf=([^;]+)/.exec(document.cookie);
    if (!csrf) return null;
    const answer = await post("/api/auth/refresh", { mode: "cookie" }, { "X-CSRF-Token": csrf[1] });
    if (!answer.ok) return null;
    return { Authorization: "Bearer " + (await answer.json()).data.accessToken };
  }

  function post(call, body, headers) {
    return fetch(call, {
      method: "POST",
      headers: Object.assign({ "Content-Type": "application/json" }, headers),
      body: JSON.stringify(body),
    });
  }

  function disable(yes) {
    for (const button of document.querySelectorAll("button")) button.disabled = yes;
  }

  function reveal(id) {
    document.getElementById(id).hidden = false;
  }

  function show(id) {
    form.hidden = true;
    for (const part of form.parentElement.querySelectorAll("div")) part.hidden = true;
    reveal(id);
  }
})();
