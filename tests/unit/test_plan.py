# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.environment import DEFAULT_PATH, PROTECTED_NAMES, PROTECTED_PREFIXES, encode, image_environment
from socker.errors import PlanError
from socker.model import Mount, is_plain_path
from socker.plan import MAX_ENV, MAX_TEXT, clean_path, is_below, is_home, make_plan
from socker.policy import Allow, Grants, SiteMount

from .fakes import IMAGE_ID, make_image, make_user

NOTHING = Allow(rule="r", grants=Grants())
ALL = Allow(rule="r", grants=Grants(home=True, submit_dir=True))


def test_plan_mounts_what_is_granted() -> None:
    plan = make_plan(make_user(), ALL, make_image())
    assert plan.mounts == (Mount(source="/home/alice", target="/home/alice", read_only=False),)
    assert plan.submit_dir
    assert plan.digest == IMAGE_ID


def test_plan_mounts_nothing_that_is_not_granted() -> None:
    plan = make_plan(make_user(), NOTHING, make_image())
    assert (plan.mounts, plan.submit_dir) == ((), False)


@pytest.mark.parametrize("home", ["/home/alice", "/home/alice/", "//home/./alice", "/home/x/../alice"])
def test_home_is_a_plain_path_in_the_plan(home: str) -> None:
    assert make_plan(make_user(home=home), ALL, make_image()).mounts[0].source == "/home/alice"


@pytest.mark.parametrize("home", ["/usr/users/a", "/var/home/a", "/gpfs/a", "/staff", "/home/\udcff"])
def test_homes_that_are_mounted(home: str) -> None:
    assert is_home(home)


@pytest.mark.parametrize(
    "home",
    ["", "home", "/", "/bin", "/dev", "/proc/1", "/etc/x", "/usr", "/usr/sbin", "/var", "/root", "/run/u", "/tmp"],
)
def test_homes_of_the_system_are_not_mounted(home: str) -> None:
    assert not is_home(home)
    assert make_plan(make_user(home=home), ALL, make_image()).mounts == ()


def test_home_that_is_too_long_is_not_mounted() -> None:
    assert not is_home("/" + "h" * 4095)


@pytest.mark.parametrize(
    ("workdir", "expected"),
    [
        ("/srv", "/srv"),
        ("", "/"),
        ("srv", "/"),
        ("/srv/", "/srv"),
        ("//srv/../opt/.", "/opt"),
        ("/../../x", "/x"),
        ("/a\0b", "/"),
        ("/" + "x" * 4095, "/"),
        ("/\ud800", "/"),
    ],
)
def test_workdir_is_the_images_where_it_is_one(workdir: str, expected: str) -> None:
    assert make_plan(make_user(), ALL, make_image(workdir=workdir)).workdir == expected


@given(st.text(alphabet="ab./\0", max_size=20))
def test_cleaned_path_is_plain(text: str) -> None:
    path = clean_path("/" + text)
    assert is_plain_path(path) or "\0" in path
    assert clean_path(path) == path


def test_environment_is_the_images() -> None:
    assert image_environment(("PATH=/x:/y", "A=1", "B=", "C=a=b\nc")) == ("PATH=/x:/y", "A=1", "B=", "C=a=b\nc")


def test_environment_without_path_gets_dockers() -> None:
    assert image_environment(("A=1",)) == ("A=1", DEFAULT_PATH)


def test_last_of_equal_names_wins() -> None:
    assert image_environment(("A=1", "PATH=/x", "A=2")) == ("PATH=/x", "A=2")


@pytest.mark.parametrize("entry", ["", "A", "=1", "=", "A B=1", "\x01=1", "A=a\0b", "Ä=1", "A=\ud800"])
def test_malformed_entries_are_dropped(entry: str) -> None:
    assert image_environment((entry,)) == (DEFAULT_PATH,)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(PROTECTED_NAMES),
        *PROTECTED_PREFIXES,
        *("SLURM_JOB_ID", "SLURMD_NODENAME", "SPANK_X", "_SLURM_SPANK_OPTION", "SRUN_DEBUG", "SBATCH_X", "SALLOC_X"),
        *("PMI_RANK", "PMI2_X", "PMIX_RANK"),
    ],
)
def test_protected_names_are_dropped(name: str) -> None:
    assert image_environment((f"{name}=1",)) == (DEFAULT_PATH,)


@pytest.mark.parametrize("name", ["MY_SLURM", "HOMEPAGE", "slurm", "XPMI", "LD_LIBRARY_PATH", "CUDA_HOME"])
def test_other_names_stay(name: str) -> None:
    assert image_environment((f"{name}=1",)) == (f"{name}=1", DEFAULT_PATH)


@given(st.lists(st.text(alphabet="SLURM_PI=Aa1\0\n", max_size=12), max_size=8))
def test_environment_has_each_name_once_and_nothing_of_slurm(entries: list[str]) -> None:
    kept = image_environment(tuple(entries))
    names = [entry.partition("=")[0] for entry in kept]
    assert len(names) == len(set(names))
    assert "PATH" in names
    assert not any(name.startswith(PROTECTED_PREFIXES) for name in names)


def test_environment_with_too_many_entries_is_refused() -> None:
    entries = ("PATH=/", *(f"V{number}=1" for number in range(MAX_ENV)))
    assert len(make_plan(make_user(), ALL, make_image(env=entries[:-1])).env) == MAX_ENV
    with pytest.raises(
        PlanError, match="513 environment variables are set by image and policy; at most 512 can be used"
    ):
        make_plan(make_user(), ALL, make_image(env=entries))


def test_environment_that_takes_too_much_room_is_refused() -> None:
    room = MAX_TEXT - len("/\0") - len("\0\0") - 2 * len("/home/alice\0") - len("PATH=/\0") - len("A=\0")
    entries = ("PATH=/", "A=" + "x" * room)
    plan = make_plan(make_user(), ALL, make_image(env=entries))
    assert sum(len(encode(text)) + 1 for text in plan.texts()) == MAX_TEXT
    with pytest.raises(PlanError, match="take 131073 bytes; at most 131072 can be used"):
        make_plan(make_user(), ALL, make_image(env=(*entries[:1], entries[1] + "x")))


def test_plan_with_too_many_mounts_is_refused() -> None:
    plan = make_plan(make_user(), ALL, make_image())
    with pytest.raises(PlanError, match="129 mounts are asked for; a container takes at most 128"):
        type(plan)(digest=plan.digest, mounts=plan.mounts * 129, submit_dir=False, env=plan.env, workdir=plan.workdir)


SITE = SiteMount(name="s", source="/gpfs/scratch", target="/scratch")


def allowing(**grants: Any) -> Allow:
    return Allow(rule="r", grants=Grants(**grants))


def test_site_mounts_are_in_the_plan_unless_they_must_be_asked_for() -> None:
    ask = SITE.but(name="ask", target="/ask", default=False)
    plan = make_plan(make_user(), allowing(site_mounts=(SITE.but(read_only=True), ask)), make_image())
    assert plan.mounts == (Mount(source="/gpfs/scratch", target="/scratch", read_only=True),)


@pytest.mark.parametrize(
    ("target", "mounts"), [("/home", 1), ("/home/alice", 1), ("/home/al", 2), ("/home/alice/x", 2)]
)
def test_a_home_that_a_site_mount_holds_is_not_mounted_again(target: str, mounts: int) -> None:
    plan = make_plan(make_user(), allowing(home=True, site_mounts=(SITE.but(target=target),)), make_image())
    assert len(plan.mounts) == mounts


def test_policy_sets_and_removes_variables_whatever_the_image_says() -> None:
    image = make_image(env=("PATH=/bin", "A=image", "B=image", "C=image"))
    plan = make_plan(make_user(), allowing(env_set=(("A", "site"), ("D", "")), env_remove=("B", "E")), image)
    assert plan.env == ("PATH=/bin", "C=image", "A=site", "D=")
    assert plan.unset == ("B", "E")


def test_private_namespaces_are_those_that_policy_separates() -> None:
    assert make_plan(make_user(), allowing(), make_image()).private == ()
    assert make_plan(make_user(), allowing(network="private", uts="private"), make_image()).private == ("net", "uts")
    assert make_plan(make_user(), allowing(ipc="private"), make_image()).private == ("ipc",)


@pytest.mark.parametrize(
    ("path", "directory", "below"),
    [("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/", "/a", False), ("/a", "/", True)],
)
def test_is_below(path: str, directory: str, *, below: bool) -> None:
    assert is_below(path, directory) is below
