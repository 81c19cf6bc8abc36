"""How the tests of another suite are counted: by what unittest itself says, and never to our advantage."""

import pytest

from tests.conformance.python_sdk import TESTS, counted, hung

LOG = """\
test_a (tests.test_client.TestA.test_a) ... 2026-11-22 14:39:49,232 - connecting
ok
test_b (tests.test_client.TestB.test_b)
It has a docstring. ... ok
test_c (tests.test_client.TestC.test_c) ... 2026-11-22 14:39:49,239 - it said ok
"""
BOTH_FORMATS = """\
FAIL: test_a (tests.test_client.TestA.test_a) (use_protobuf=False)
FAIL: test_a (tests.test_client.TestA.test_a) (use_protobuf=True)
ERROR: test_b (tests.test_client.TestB.test_b)
"""


@pytest.mark.parametrize(
    ("log", "passed"),
    [
        ("Ran 62 tests in 5.054s\n\nOK\n", TESTS),
        (f"{BOTH_FORMATS}Ran 62 tests in 5.1s\n\nFAILED (failures=2, errors=1)\n", TESTS - 2),
        ("Ran 62 tests in 5.1s\n\nOK (skipped=2, expected failures=1)\n", TESTS - 3),
        ("Ran 61 tests in 5.1s\n\nOK\n", TESTS - 1),
        ("ERROR: setUpModule (tests.test_client)\nRan 0 tests in 5.1s\n\nFAILED (errors=1)\n", 0),
        ("", 0),
    ],
)
def test_a_test_counts_once_and_only_when_it_ran_and_passed(log: str, passed: int) -> None:
    verdict = counted(log)
    assert (verdict.passed, verdict.total) == (passed, TESTS)
    assert verdict.good == (not verdict.notes) == (passed == TESTS)


def test_of_a_suite_that_hangs_counts_what_passed_before_and_it_is_said_where() -> None:
    verdict = hung(LOG)
    assert (verdict.passed, verdict.good) == (2, False)
    assert "tests.test_client.TestC.test_c" in verdict.notes[0]
