"""Reading the audit trail: what it leaves behind, pages while rows arrive, reports, words in long trails."""

import base64
import csv
import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain import db, ids, partitions
from domain.audit_logs import search
from domain.audit_logs.model import AuditRecord, Filter
from domain.teams import policy
from tests.app.company import Company, problem
from tests.factories import Api, Person, item


async def trail(reader: Person, team: str, query: str = "") -> list[dict[str, Any]]:
    answer = await reader.get(f"/audit-logs?limit=100&teamId={team}&{query}")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def test_reading_leaves_a_row_with_the_filter_and_the_count_and_only_one_for_a_while(
    team: Company,
) -> None:
    owner, admin = team["owner"], team["admin"]
    first = await trail(owner, team.team, "action=teams.member_added")
    again = await trail(owner, team.team, "action=teams.member_added")
    assert len(first) == len(again) == 3
    await trail(admin, team.team, "action=teams.member_added")
    await trail(owner, team.team, "action=teams.created")
    left = await trail(owner, team.team, "action=audit_logs.read")
    assert [(row["userId"], row["metadata"]) for row in left] == [
        (owner.id, {"filter": {"action": "teams.created"}, "count": 1}),
        (admin.id, {"filter": {"action": "teams.member_added"}, "count": 3}),
        (owner.id, {"filter": {"action": "teams.member_added"}, "count": 3}),
    ]
    assert left[0]["resourceType"] == "audit_log"


async def test_a_later_page_is_part_of_the_same_reading(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await item(ann, team)
    page = (await ann.get(f"/audit-logs?teamId={team}&limit=1")).json()
    before = len(await trail(ann, team, "action=audit_logs.read"))
    more = await ann.get(f"/audit-logs?teamId={team}&limit=1&cursor={page['nextCursor']}")
    assert more.status_code == 200
    reads = await trail(ann, team, "action=audit_logs.read")
    assert [row["metadata"]["filter"] for row in reads] == [{"action": "audit_logs.read"}, {}]
    assert before == 1


async def test_whoever_may_not_read_leaves_no_row_of_having_read(team: Company) -> None:
    count = await db.fetchval("SELECT count(*) FROM audit_logs WHERE team_id = $1", team.team)
    for query in ("", "&report=true&preset=access", "&export=true&format=csv"):
        problem(await team["viewer"].get(f"/audit-logs?teamId={team.team}{query}"), 403, "forbidden")
        problem(await team["stranger"].get(f"/audit-logs?teamId={team.team}{query}"), 404, "not_found")
    assert await db.fetchval("SELECT count(*) FROM audit_logs WHERE team_id = $1", team.team) == count


async def filled(rows: int, *, since: datetime, words: str = "plain") -> str:
    """A team without people whose trail has so many rows, a minute apart; a word of them in `note`."""
    team = ids.new("team")
    await db.execute(
        """INSERT INTO audit_logs (id, seq, team_id, action, resource_type, resource, "timestamp", metadata,
                                   changes, outcome, ip)
           SELECT 'aud_' || $1 || n, n, $1, CASE WHEN n % 7 = 0 THEN 'a.rare' ELSE 'a.common' END, 'thing',
                  'x',
                  $2::timestamptz + n * interval '1 minute',
                  jsonb_build_object('note', $4::text, 'number', 'n' || n % 50, 'own', 'o' || n), '{}',
                  CASE WHEN n % 11 = 0 THEN 'denied' ELSE 'success' END, '10.0.0.' || n % 3
           FROM generate_series(1, $3::int) AS n""",
        team,
        since,
        rows,
        words,
    )
    return team


async def found(team: str, only: Filter, *, before: int | None = None, limit: int = 20) -> list[AuditRecord]:
    async with db.snapshot():
        return await search.newest(team, only, before=before, limit=limit)


@pytest.fixture(params=["rare words at once", "every word month by month"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However words are looked for, what is found is the same."""
    if request.param != "rare words at once":
        monkeypatch.setattr(search, "RARE", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "only",
    [
        Filter(),
        Filter(query="plain"),
        Filter(query="n7"),
        Filter(query="o3"),
        Filter(query="nothing"),
        Filter(query="plain -n7"),
        Filter(query="n7 or o9"),
        Filter(action="a.rare", query="n7"),
        Filter(action="a.rare", outcome="denied"),
        Filter(outcome="success", ip="10.0.0.1"),
        Filter(outcome="failure"),
        Filter(outcome="no such"),
    ],
    ids=str,
)
async def test_pages_of_whatever_shape_have_what_a_plain_query_finds(url: str, only: Filter) -> None:
    begin = datetime.now(UTC)
    team = await filled(2800, since=begin)
    plain = await db.fetch(
        """SELECT seq FROM audit_logs WHERE team_id = $1 AND ($2::text IS NULL OR action = $2)
             AND ($3::text IS NULL OR outcome = $3) AND ($4::text IS NULL OR ip = $4)
             AND ($5::text IS NULL OR tsv @@ websearch_to_tsquery('simple', $5)) ORDER BY seq DESC""",
        team,
        only.action,
        only.outcome,
        only.ip,
        only.query,
    )
    walked: list[int] = []
    while page := await found(team, only, before=walked[-1] if walked else None, limit=300):
        walked += [record.seq for record in page]
    assert walked == [row["seq"] for row in plain]
    for minutes in (0, 700, 2799):
        at = begin + timedelta(minutes=minutes)
        window = Filter(query=only.query, since=at, until=at + timedelta(minutes=5))
        seqs = [record.seq for record in await found(team, window)]
        expected = await db.fetch(
            """SELECT seq FROM audit_logs WHERE team_id = $1 AND "timestamp" >= $2 AND "timestamp" < $3
                 AND ($4::text IS NULL OR tsv @@ websearch_to_tsquery('simple', $4)) ORDER BY seq DESC""",
            team,
            window.since,
            window.until,
            only.query,
        )
        assert seqs == [row["seq"] for row in expected]


@pytest.mark.usefixtures("way")
async def test_at_the_turn_of_a_month_rows_that_were_committed_late_are_in_their_place(url: str) -> None:
    [turn, *_] = await partitions.begins("audit_logs")
    team = await filled(1200, since=turn - timedelta(minutes=1150))
    # Five rows of the old month that came after the first of the new one, with the word that is looked for.
    await db.execute(
        """INSERT INTO audit_logs (id, seq, team_id, action, resource_type, resource, "timestamp", metadata,
                                   changes, outcome)
           SELECT 'aud_late' || $1 || n, 1200 + n, $1, 'a.late', 'thing', 'x',
                  $2::timestamptz + CASE WHEN n % 2 = 0 THEN interval '-1 s' ELSE interval '2 hours' END,
                  '{"note": "walnut"}', '{}', 'success' FROM generate_series(1, 10) AS n""",
        team,
        turn,
    )
    await db.execute(
        """INSERT INTO audit_logs (id, seq, team_id, action, resource_type, resource, "timestamp", metadata,
                                   changes, outcome)
           SELECT 'aud_new' || $1 || n, 1210 + n, $1, 'a.new', 'thing', 'x',
                  $2::timestamptz + interval '3 hours',
                  '{"note": "plain"}', '{}', 'success' FROM generate_series(1, 1200) AS n""",
        team,
        turn,
    )
    for limit in (1, 2, 3, 4, 5, 7, 10):
        page = await found(team, Filter(query="walnut"), limit=limit)
        assert [record.seq for record in page] == list(range(1210, 1210 - limit, -1))


async def test_a_kind_of_thing_may_have_an_underscore_in_its_name(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    key = await ann.post("/auth/api-keys", {"name": "Till", "scopes": ["team:read"], "teamId": team})
    assert key.status_code == 201, key.text
    [row] = await trail(ann, team, "resource=api_key")
    assert row["action"] == "auth.api_key_created"


# Reports


async def report(reader: Person, team: str, preset: str, form: str = "json", **more: str) -> httpx.Response:
    given = "".join(f"&{name}={value}" for name, value in more.items())
    answer = await reader.get(f"/audit-logs?teamId={team}&report=true&preset={preset}&format={form}{given}")
    assert answer.status_code == 200, answer.text
    return answer


async def test_who_has_access_and_since_when(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "admin"})
    await ann.post("/auth/api-keys", {"name": "Till", "scopes": ["inventory:read"], "teamId": team})
    await bob.post("/auth/api-keys", {"name": "Mine", "scopes": ["team:read"]})
    made = (await report(ann, team, "access")).json()["data"]
    owner, admin = made["members"]
    assert (owner["userId"], owner["role"], owner["ownKeys"]) == (ann.id, "owner", 0)
    assert (admin["userId"], admin["role"], admin["ownKeys"]) == (bob.id, "admin", 1)
    assert "audit:read" in admin["permissions"]
    assert "team:delete" not in admin["permissions"]
    changed = next(row for row in made["rows"] if row["action"] == "teams.role_changed")
    assert admin["roleSince"] == changed["timestamp"] > admin["joinedAt"]
    assert owner["roleSince"] == owner["joinedAt"]
    assert admin["lastSeenAt"] >= admin["joinedAt"][:10]
    [key] = made["keys"]
    assert (key["userId"], key["name"], key["scopes"]) == (ann.id, "Till", ["inventory:read"])
    assert "Mine" not in str(made), "what a person keeps for themselves is not told to their teams"
    assert {row["action"] for row in made["rows"]} == {
        "teams.created", "teams.member_added", "teams.role_changed", "auth.api_key_created",
    }  # fmt: skip


async def test_failed_sign_ins_are_told_to_the_person_and_to_nobody_in_their_teams(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    await api.call("POST", "/auth/login", json={"email": bob.email, "password": "something else"})
    own = (await report(bob, bob.personal_team_id, "failed-logins")).json()["data"]
    assert [row["action"] for row in own["rows"]] == ["auth.login_failed"]
    assert (await report(ann, team, "failed-logins")).json()["data"]["rows"] == []


async def test_permission_changes_and_copies_of_data_are_reported_in_their_window(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    await item(ann, team)
    assert (await ann.get(f"/audit-logs?teamId={team}&export=true&format=csv")).status_code == 200
    changes = (await report(ann, team, "permission-changes")).json()["data"]
    assert [row["action"] for row in changes["rows"]] == ["teams.member_added", "teams.created"]
    copies = (await report(ann, team, "data-exports")).json()["data"]
    assert [row["action"] for row in copies["rows"]] == [
        "audit_logs.reported", "audit_logs.exported", "audit_logs.export_started",
    ]  # fmt: skip
    late = (await report(ann, team, "permission-changes", **{"from": "2999-01-01T00:00:00Z"})).json()["data"]
    assert (late["rows"], late["hasMore"]) == ([], False)
    rows = await trail(ann, team, "action=audit_logs.reported")
    assert [row["metadata"] for row in rows][::-1] == [
        {"preset": "permission-changes", "filter": {}, "count": 2},
        {"preset": "data-exports", "filter": {}, "count": 3},
        {"preset": "permission-changes", "filter": {"from": "2999-01-01T00:00:00Z"}, "count": 0},
    ]


async def test_a_report_of_a_team_that_is_deleted_under_it_is_of_no_team(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    monkeypatch.setattr(policy.memory, "lasts_s", 60.0)
    assert (await report(ann, team, "access")).status_code == 200
    # Where nothing tells of it, the role is remembered, and so was let in.
    await db.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", team)
    late = await ann.get(f"/audit-logs?teamId={team}&report=true&preset=access")
    problem(late, 404, "not_found")


EVIL = '=HYPERLINK("https://evil.example","x")<script>alert(1)</script>'


async def test_a_report_as_csv_has_no_live_formula_and_as_a_page_no_live_markup(api: Api) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    await ann.patch("/users/me", {"name": EVIL})
    sheet = await report(ann, team, "access", "csv")
    assert sheet.headers["content-type"].startswith("text/csv")
    assert sheet.headers["content-disposition"].startswith(f'attachment; filename="access-{team}-')
    lines = list(csv.DictReader(io.StringIO(sheet.text, newline="")))
    [member] = [line for line in lines if line["table"] == "Members"]
    assert member["name"] == f"'{EVIL}"
    assert not [cell for line in lines for cell in line.values() if cell.startswith(("=", "+", "-", "@"))]
    assert sheet.text.count("\r\n") == sheet.text.count("\n") == len(lines) + 1

    page = await report(ann, team, "access", "html")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "script" not in policy
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "@media print" in page.text


async def test_the_pages_style_is_the_one_its_policy_names(api: Api) -> None:
    ann = await api.person("Ann")
    page = await report(ann, ann.personal_team_id, "data-exports", "html")
    style = page.text.split("<style>")[1].split("</style>")[0]
    named = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{named}'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("report=true", "/preset"),
        ("preset=access", "/preset"),
        ("report=true&preset=nothing", "/preset"),
        ("report=true&preset=access&format=ndjson", "/format"),
        ("report=true&preset=access&export=true", "/export"),
        ("export=true&format=html", "/format"),
        ("format=csv", "/format"),
    ],
)
async def test_what_is_no_report_and_no_export_is_refused(team: Company, query: str, pointer: str) -> None:
    answer = await team["owner"].get(f"/audit-logs?teamId={team.team}&{query}")
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer
