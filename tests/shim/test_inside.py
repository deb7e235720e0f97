# SPDX-License-Identifier: Apache-2.0
"""inside.c: root's visits to a container's mount namespace never leave its root (T01, T13, T29)."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IMODE, S_ISCHR, S_ISREG

import pytest

from .driver import Container, done, ffi, in_child, lib, refused

AT_FDCWD = -100
RENAME_EXCHANGE = 2


@pytest.fixture
def pts() -> Iterator[int]:
    """A detached copy of the host's devpts."""
    fd = lib.shim_open_tree(b"/dev/pts")
    assert fd >= 0
    yield fd
    os.close(fd)


@pytest.fixture
def lent(trusted: Path) -> Path:
    """A directory of the host with a file in it."""
    path = trusted / "lent"
    path.mkdir()
    (path / "from-the-host").write_text("host")
    return path


@pytest.fixture
def put(mnt: int) -> Callable[..., int]:
    """Attaches a path of the host at a target in the container; returns inside_attach's errno."""

    def put_one(source: Path, target: str, *, file: bool = False, over_lent: bool = False) -> int:
        tree = lib.shim_open_tree(os.fsencode(source))
        assert tree >= 0
        try:
            return int(lib.inside_attach(mnt, tree, target.encode(), file, over_lent))
        finally:
            os.close(tree)

    return put_one


def content(container: Container, path: str) -> list[str]:
    return sorted(os.listdir(container.root / path.lstrip("/")))


# Hardening


def test_harden_makes_every_mount_nosuid_and_nodev_but_devices(container: Container, mnt: int, pts: int) -> None:
    before = {mount.point: mount.options for mount in container.mounts()}
    assert not before["/"] & {"nosuid", "nodev"}
    done(lib.inside_harden, mnt, pts, b"")
    after = container.mounts()
    assert {mount.point for mount in after} == {"/", "/dev", "/dev/pts", "/proc", "/.socker/hold"}
    for mount in after:
        assert "nosuid" in mount.options, mount
        assert ("nodev" in mount.options) is (mount.point not in {"/dev", "/dev/pts"}), mount


def test_harden_makes_a_device_of_the_image_useless(container: Container, mnt: int, pts: int) -> None:
    os.mknod(container.root / "evil", 0o020666, os.makedev(1, 5))
    os.mknod(container.root / "dev" / "zero", 0o020666, os.makedev(1, 5))
    done(lib.inside_harden, mnt, pts, b"")
    with pytest.raises(PermissionError):
        (container.root / "evil").open("rb")
    with (container.root / "dev" / "zero").open("rb") as device:
        assert device.read(2) == b"\0\0"


def test_harden_gives_the_hosts_terminals_and_a_ptmx_of_its_own(container: Container, mnt: int, pts: int) -> None:
    (container.root / "dev" / "ptmx").symlink_to("pts/ptmx")
    done(lib.inside_harden, mnt, pts, b"")
    ptmx = (container.root / "dev" / "ptmx").lstat()
    assert (S_ISCHR(ptmx.st_mode), S_IMODE(ptmx.st_mode), ptmx.st_rdev) == (True, 0o666, os.makedev(5, 2))
    assert (container.root / "dev" / "pts").stat().st_dev == Path("/dev/pts").stat().st_dev
    assert [mount.kind for mount in container.mounts() if mount.point == "/dev/pts"] == ["devpts"]


def test_harden_keeps_a_read_only_mount_so(container: Container, mnt: int, pts: int, put: Callable[..., int]) -> None:
    source = Path("/proc/sys")
    assert put(source, "/ro") == 0

    def remount() -> int:
        assert lib.shim_enter_mounts(mnt) == 0
        return int(lib.shim_mount(b"none", b"/ro", b"", 32 | 4096 | 1))  # REMOUNT, BIND, RDONLY

    assert in_child(remount) == 0
    done(lib.inside_harden, mnt, pts, b"")
    options = {mount.point: mount.options for mount in container.mounts()}
    assert {"ro", "nosuid", "nodev"} <= options["/ro"]
    assert "rw" in options["/"]


def test_harden_of_a_container_without_a_dev_of_its_own_is_refused(start: Callable[..., Container], pts: int) -> None:
    """What is not a tmpfs there may be the image's, with the image's devices."""
    container = start(flaws=lib.HOLD_PLAIN_DEV)
    # the tiny root is a tmpfs, as /dev would be: make /dev a mount of something else
    mnt = os.open(f"/proc/{container.pid}/ns/mnt", os.O_RDONLY)

    def cover() -> int:
        assert lib.shim_enter_mounts(mnt) == 0
        return int(lib.shim_mount(b"proc", b"/dev", b"proc", 0))

    assert in_child(cover) == 0
    reason = refused(lib.inside_harden, mnt, pts, b"")
    os.close(mnt)
    assert reason == "the container has no /dev of its own on this node; tell your administrator"


def test_harden_of_a_container_whose_dev_is_a_symlink_is_refused(container: Container, mnt: int, pts: int) -> None:
    def replace() -> None:
        assert lib.shim_enter_mounts(mnt) == 0
        lib.shim_unmount(b"/dev")
        os.rmdir("/dev")
        os.mkdir("/elsewhere")
        os.symlink("elsewhere", "/dev")

    in_child(replace)
    reason = refused(lib.inside_harden, mnt, pts, b"")
    assert reason == "the container has no /dev of its own on this node; tell your administrator"


def test_harden_without_a_place_for_terminals_is_refused(container: Container, mnt: int, pts: int) -> None:
    (container.root / "dev" / "pts").rmdir()
    reason = refused(lib.inside_harden, mnt, pts, b"")
    assert reason == "the container could not be given the host's /dev/pts on this node; tell your administrator"


def test_harden_of_what_is_no_mount_namespace_is_refused(pts: int) -> None:
    reason = refused(lib.inside_harden, pts, pts, b"")
    assert reason == "the container could not be entered on this node; tell your administrator"


def test_harden_hides_processes_as_the_host_does(container: Container, mnt: int, pts: int) -> None:
    done(lib.inside_harden, mnt, pts, b"hidepid=2,gid=4")
    line = next(line for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines() if " /proc " in line)
    assert {"gid=4", "hidepid=invisible"} <= set(line.split()[-1].split(","))
    host = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " /proc " in line)
    assert "hidepid=invisible" not in host


@pytest.mark.parametrize("options", [b"hidepid=9", b"no-such-option=1"])
def test_harden_that_cannot_hide_processes_is_refused(mnt: int, pts: int, options: bytes) -> None:
    reason = refused(lib.inside_harden, mnt, pts, options)
    assert reason == "the container could not be given the host's hidepid on this node; tell your administrator"


def test_harden_does_not_hide_processes_in_what_is_no_procfs(container: Container, mnt: int, pts: int) -> None:
    def uncover() -> None:
        assert lib.shim_enter_mounts(mnt) == 0
        lib.shim_unmount(b"/proc")

    in_child(uncover)
    reason = refused(lib.inside_harden, mnt, pts, b"hidepid=2")
    assert reason == "the container could not be given the host's hidepid on this node; tell your administrator"


# Attaching


def test_attach_at_a_directory_that_exists_covers_it(container: Container, put: Callable[..., int], lent: Path) -> None:
    (container.root / "data").mkdir()
    assert put(lent, "/data") == 0
    assert content(container, "/data") == ["from-the-host"]


def test_attach_at_a_missing_path_makes_it(container: Container, put: Callable[..., int], lent: Path) -> None:
    old = os.umask(0o777)
    try:
        assert put(lent, "/a/b/c") == 0
    finally:
        os.umask(old)
    assert content(container, "/a/b/c") == ["from-the-host"]
    for made in ("a", "a/b"):
        status = (container.root / made).stat()
        assert (S_IMODE(status.st_mode), status.st_uid) == (0o755, 0)


def test_attach_of_a_file_makes_a_file(container: Container, put: Callable[..., int], lent: Path) -> None:
    assert put(lent / "from-the-host", "/x/file", file=True) == 0
    assert (container.root / "x" / "file").read_text() == "host"
    assert S_ISREG((container.root / "x" / "file").stat().st_mode)


def test_attach_leaves_nothing_in_the_host(put: Callable[..., int], lent: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert put(lent, "/a") == 0
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize(
    ("link", "to", "target", "lands"),
    [
        pytest.param("way", "/real", "/way/new", "real/new", id="absolute"),
        pytest.param("way", "real", "/way/new", "real/new", id="relative"),
        pytest.param("way", "../../../../real", "/way/new", "real/new", id="above the root is the root"),
        pytest.param("way", "/real", "/way", "real", id="as the last component"),
        pytest.param("way", "/", "/way/new", "new", id="to the root"),
    ],
)
def test_attach_through_a_symlink_stays_inside(
    container: Container, put: Callable[..., int], lent: Path, link: str, to: str, target: str, lands: str
) -> None:
    (container.root / "real").mkdir()
    (container.root / link).symlink_to(to)
    assert put(lent, target) == 0
    assert content(container, lands) == ["from-the-host"]


@pytest.mark.parametrize("spelling", ["{}", "../../../../../..{}", "/../../..{}"])
def test_attach_through_a_symlink_that_leads_out_touches_nothing_outside(
    container: Container, put: Callable[..., int], lent: Path, trusted: Path, spelling: str
) -> None:
    outside = trusted / "outside"
    outside.mkdir()
    (container.root / "way").symlink_to(spelling.format(outside))
    # inside, the path it names does not exist
    assert put(lent, "/way/new") == errno.EEXIST
    assert list(outside.iterdir()) == []
    (container.root / str(outside).lstrip("/")).mkdir(parents=True)
    assert put(lent, "/way/new") == 0
    assert content(container, f"{outside}/new") == ["from-the-host"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("link", ["/proc/self/root", "/proc/thread-self/cwd", "/proc/self/fd/0"])
def test_attach_through_a_magic_link_is_refused(
    container: Container, put: Callable[..., int], lent: Path, link: str
) -> None:
    (container.root / "way").symlink_to(link)
    assert put(lent, "/way/new") == errno.ELOOP
    assert put(lent, f"{link}/new") == errno.ELOOP


@pytest.mark.parametrize("target", ["/way", "/way/below"])
def test_attach_at_a_dangling_symlink_is_refused(
    container: Container, put: Callable[..., int], lent: Path, target: str
) -> None:
    (container.root / "way").symlink_to("/nowhere")
    assert put(lent, target) == errno.EEXIST
    assert not (container.root / "nowhere").exists()


def test_attach_at_a_loop_of_symlinks_is_refused(container: Container, put: Callable[..., int], lent: Path) -> None:
    (container.root / "way").symlink_to("way")
    assert put(lent, "/way/x") == errno.ELOOP


def test_attach_of_a_directory_at_a_file_is_refused(container: Container, put: Callable[..., int], lent: Path) -> None:
    (container.root / "file").write_text("image")
    assert put(lent, "/file") == errno.ENOTDIR
    assert put(lent, "/file/below") == errno.ENOTDIR
    assert (container.root / "file").read_text() == "image"


def test_attach_of_a_file_at_a_directory_is_refused(container: Container, put: Callable[..., int], lent: Path) -> None:
    (container.root / "dir").mkdir()
    assert put(lent / "from-the-host", "/dir", file=True) == errno.EISDIR


@pytest.mark.parametrize(("target", "file"), [("/lent/sub", False), ("/lent/new", False), ("/lent/new", True)])
def test_attach_in_what_the_host_lent_is_refused(
    put: Callable[..., int], lent: Path, target: str, *, file: bool
) -> None:
    (lent / "sub").mkdir()
    before = sorted(os.listdir(lent))
    assert put(lent, "/lent") == 0
    assert put(lent / "from-the-host" if file else lent, target, file=file) == errno.EPERM
    assert sorted(os.listdir(lent)) == before


def test_attach_in_a_tmpfs_that_the_host_lent_is_refused(mnt: int, lent: Path) -> None:
    def attach_below() -> tuple[int, list[str]]:
        assert lib.shim_private_mounts() == 0
        assert lib.shim_mount(b"tmpfs", os.fsencode(lent), b"tmpfs", 0) == 0
        assert lib.inside_attach(mnt, lib.shim_open_tree(os.fsencode(lent)), b"/lent", False, False) == 0
        result = lib.inside_attach(mnt, lib.shim_open_tree(b"/etc"), b"/lent/made/by/root", False, False)
        return result, os.listdir(lent)

    assert in_child(attach_below) == [errno.EPERM, []]


def test_attach_on_a_tmpfs_of_the_container_itself_works(
    container: Container, mnt: int, put: Callable[..., int], lent: Path
) -> None:
    """A tmpfs covers a volume of the image."""

    def cover() -> int:
        assert lib.shim_enter_mounts(mnt) == 0
        os.mkdir("/volume")
        return int(lib.shim_mount(b"tmpfs", b"/volume", b"tmpfs", 0))

    assert in_child(cover) == 0
    assert put(lent, "/volume/sub") == 0
    assert content(container, "/volume/sub") == ["from-the-host"]


def test_attach_of_what_is_no_tree_is_refused(mnt: int) -> None:
    assert lib.inside_attach(mnt, -1, b"/new", False, False) == errno.EBADF


def test_attach_in_what_is_no_mount_namespace_is_refused(pts: int) -> None:
    with Path("/dev/null").open() as null:
        assert lib.inside_attach(null.fileno(), pts, b"/new", False, False) == errno.EINVAL


# A root that cannot be written


def test_protect_makes_the_root_read_only_and_nothing_else(
    container: Container, mnt: int, put: Callable[..., int], lent: Path
) -> None:
    assert put(lent, "/data") == 0
    done(lib.inside_protect, mnt)
    options = {mount.point: mount.options for mount in container.mounts()}
    assert "ro" in options.pop("/")
    assert all("rw" in mount for mount in options.values())
    with pytest.raises(OSError, match="Read-only file system"):
        (container.root / "new").write_text("")
    (container.root / "data" / "new").write_text("")
    done(lib.inside_protect, mnt)


def test_protect_of_what_is_no_mount_namespace_is_refused() -> None:
    with Path("/dev/null").open() as null:
        reason = refused(lib.inside_protect, null.fileno())
    assert reason == "the container's root cannot be made read-only: Invalid argument"


@pytest.mark.parametrize(("target", "file"), [("/new", False), ("/a/b/c", False), ("/x/file", True), ("/way/y", False)])
def test_attach_at_a_missing_path_of_a_read_only_root_makes_it_and_leaves_it_so(
    container: Container, mnt: int, put: Callable[..., int], lent: Path, target: str, *, file: bool
) -> None:
    (container.root / "real").mkdir()
    (container.root / "way").symlink_to("/real")
    done(lib.inside_protect, mnt)
    before = len(container.mounts())
    assert put(lent / "from-the-host" if file else lent, target, file=file) == 0
    lands = container.root / target.lstrip("/").replace("way/", "real/")
    assert lands.read_text() == "host" if file else os.listdir(lands) == ["from-the-host"]
    mounts = container.mounts()
    assert len(mounts) == before + 1
    assert "ro" in mounts[0].options
    for parent in (container.root, container.root / "real"):
        with pytest.raises(OSError, match="Read-only file system"):
            (parent / "more").write_text("")


def test_attach_in_what_the_host_lent_to_a_read_only_root_is_refused(
    mnt: int, put: Callable[..., int], lent: Path
) -> None:
    assert put(lent, "/lent") == 0
    done(lib.inside_protect, mnt)
    assert put(lent, "/lent/new") == errno.EPERM
    assert os.listdir(lent) == ["from-the-host"]


@pytest.mark.parametrize("over_lent", [False, True])
def test_attach_over_what_the_host_lent_needs_the_users_word(
    container: Container, put: Callable[..., int], lent: Path, trusted: Path, *, over_lent: bool
) -> None:
    (lent / "sub").mkdir()
    (trusted / "other").mkdir()
    assert put(lent, "/lent") == 0
    assert put(trusted / "other", "/lent/sub", over_lent=over_lent) == (0 if over_lent else errno.EPERM)
    covered = (container.root / "lent" / "sub").stat().st_ino == (trusted / "other").stat().st_ino
    assert covered is over_lent
    # what is missing there is the host's to make
    assert put(trusted / "other", "/lent/new", over_lent=over_lent) == errno.EPERM
    assert sorted(os.listdir(lent)) == ["from-the-host", "sub"]


def test_attach_over_a_file_system_of_the_kernel_is_refused_whoever_asks(put: Callable[..., int], lent: Path) -> None:
    assert put(lent, "/proc/sys", over_lent=True) == errno.EPERM
    assert put(Path("/sys"), "/host-sys") == 0
    assert put(lent, "/host-sys/kernel", over_lent=True) == errno.EPERM


@pytest.mark.parametrize("over_lent", [False, True])
@pytest.mark.parametrize("where", ["/", "/dev", "/dev/shm", "/.socker"])
def test_attach_through_a_link_to_what_no_target_may_be_is_refused(
    container: Container, put: Callable[..., int], lent: Path, where: str, *, over_lent: bool
) -> None:
    """The link lies in the image or in what the host lent (T29, R30)."""
    for path in ("/dev/shm", "/.socker"):
        (container.root / path.lstrip("/")).mkdir(exist_ok=True)
    (container.root / "way").symlink_to(where)
    (lent / "way").symlink_to(where)
    assert put(lent, "/lent") == 0
    before = container.mounts()
    for target in ("/way", "/lent/way"):
        assert put(lent, target, over_lent=over_lent) == errno.EPERM
    assert container.mounts() == before


def test_nothing_becomes_the_root_of_a_later_visit(
    container: Container, put: Callable[..., int], lent: Path, trusted: Path
) -> None:
    (lent / "way").symlink_to("/")
    (trusted / "other").mkdir()
    assert put(lent, "/lent") == 0
    put(lent, "/lent/way", over_lent=True)
    assert put(trusted / "other", "/new", over_lent=True) == 0
    assert sorted(os.listdir(lent)) == ["from-the-host", "way"]
    assert "new" in content(container, "/")


# Copies


class Copied:
    """What inside_copy made of a path of the container."""

    def __init__(self, mnt: int, path: str) -> None:
        to = os.memfd_create("copy")
        self.error = int(lib.inside_copy(mnt, path.encode(), to))
        self.content = os.pread(to, 1 << 20, 0)
        os.close(to)


def test_copy_of_a_file_is_its_content(container: Container, mnt: int) -> None:
    (container.root / "etc").mkdir()
    (container.root / "etc" / "passwd").write_bytes(b"image\n\0\xff")
    (container.root / "etc" / "passwd").chmod(0)
    copied = Copied(mnt, "/etc/passwd")
    assert (copied.error, copied.content) == (0, b"image\n\0\xff")


@pytest.mark.parametrize("path", ["/absent", "/absent/passwd"])
def test_copy_of_what_is_not_there_is_empty(mnt: int, path: str) -> None:
    copied = Copied(mnt, path)
    assert (copied.error, copied.content) == (0, b"")


@pytest.mark.parametrize("more", [-1, 0, 1, 100000])
def test_copy_of_a_large_file_is_its_beginning(container: Container, mnt: int, more: int) -> None:
    most = int(lib.INSIDE_COPY_MAX)
    content = os.urandom(most + more)
    (container.root / "large").write_bytes(content)
    copied = Copied(mnt, "/large")
    assert (copied.error, copied.content == content[:most]) == (0, True)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path, 0o666)


def make_device(path: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))


def make_disk(path: Path) -> None:
    os.mknod(path, 0o060666, os.makedev(7, 0))


@pytest.mark.parametrize("make", [make_directory, make_fifo, make_device, make_disk])
def test_copy_of_what_is_no_file_is_refused_without_opening_it(
    container: Container, mnt: int, make: Callable[[Path], None]
) -> None:
    make(container.root / "odd")
    (container.root / "way").symlink_to("/odd")
    for path in ("/odd", "/way"):
        copied = Copied(mnt, path)
        assert (copied.error, copied.content) == (errno.EINVAL, b"")


def test_copy_through_links_stays_inside(container: Container, mnt: int, lent: Path) -> None:
    outside = lent / "from-the-host"
    for name, to in (("far", str(outside)), ("up", f"../../../../../..{outside}")):
        (container.root / name).symlink_to(to)
        copied = Copied(mnt, f"/{name}")
        assert (copied.error, copied.content) == (0, b"")
    (container.root / str(lent).lstrip("/")).mkdir(parents=True)
    (container.root / str(outside).lstrip("/")).write_text("image")
    for name in ("far", "up"):
        assert Copied(mnt, f"/{name}").content == b"image"


def test_copy_through_a_loop_or_a_magic_link_is_refused(container: Container, mnt: int) -> None:
    (container.root / "loop").symlink_to("loop")
    (container.root / "magic").symlink_to("/proc/self/root/etc/passwd")
    for path in ("/loop", "/loop/passwd", "/magic", "/proc/self/fd/0"):
        copied = Copied(mnt, path)
        assert (copied.error, copied.content) == (errno.ELOOP, b"")


def test_copy_of_what_the_host_lent_is_refused(
    container: Container, mnt: int, put: Callable[..., int], lent: Path
) -> None:
    """The user may enter a directory of his and not read each file there; a link of the image may name one."""
    (lent / "from-the-host").chmod(0o600)
    assert put(lent, "/data") == 0
    (container.root / "etc").mkdir()
    (container.root / "etc" / "passwd").symlink_to("/data/from-the-host")
    for path in ("/etc/passwd", "/data/from-the-host"):
        copied = Copied(mnt, path)
        assert (copied.error, copied.content) == (errno.EPERM, b"")


def test_copy_while_a_link_changes_is_never_of_what_the_host_lent(
    container: Container, mnt: int, put: Callable[..., int], lent: Path
) -> None:
    """What was looked at is what is read (T27); the flipping goes on outside, so no look is ever up to date."""
    (container.root / "own").write_text("image")
    (lent / "passwd").symlink_to("/own")
    (lent / "other").symlink_to("/data/from-the-host")
    assert put(lent, "/data") == 0
    flipper = os.fork()
    if flipper == 0:
        rename = ctypes.CDLL(None).renameat2
        names = [os.fsencode(lent / name) for name in ("passwd", "other")]
        while True:
            rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    try:
        seen = set()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            copied = Copied(mnt, "/data/passwd")
            seen.add((copied.error, copied.content))
    finally:
        os.kill(flipper, signal.SIGKILL)
        os.waitpid(flipper, 0)
    assert seen == {(0, b"image"), (errno.EPERM, b"")}


def test_copy_from_a_tmpfs_of_the_container_works(container: Container, mnt: int) -> None:
    (container.root / "dev" / "file").write_text("own")
    copied = Copied(mnt, "/dev/file")
    assert (copied.error, copied.content) == (0, b"own")


def test_copy_to_what_cannot_be_written_is_told(container: Container, mnt: int) -> None:
    (container.root / "file").write_text("x")
    with Path("/dev/null").open() as null:
        assert lib.inside_copy(mnt, b"/file", null.fileno()) == errno.EBADF
    with Path("/dev/full").open("w") as full:
        assert lib.inside_copy(mnt, b"/file", full.fileno()) == errno.ENOSPC


def test_visitor_that_waits_ends_with_the_opener(container: Container, mnt: int) -> None:
    """It has the opener's lock: one that stayed would keep the key from every other opener and closer."""
    (container.root / "large").write_bytes(bytes(1 << 18))
    to_read, to_write = os.pipe()
    opener = os.fork()
    if opener == 0:
        lib.inside_copy(mnt, b"/large", to_write)
        os._exit(0)
    os.close(to_write)
    ended = select.poll()
    ended.register(to_read, 0)  # POLLHUP: nobody has the other end any more
    assert select.select([to_read], [], [], 5)[0]
    assert not ended.poll(100)
    os.kill(opener, signal.SIGKILL)
    os.waitpid(opener, 0)
    assert ended.poll(5000)
    os.close(to_read)


def test_copy_in_what_is_no_mount_namespace_is_refused() -> None:
    with Path("/dev/null").open("w") as null:
        assert lib.inside_copy(null.fileno(), b"/file", null.fileno()) == errno.EINVAL


def test_attach_of_several_gives_each_its_own_cause(mnt: int) -> None:
    def visit(space: int, *trees: int) -> list[int]:
        targets = [ffi.new("char[]", f"/several/{number}".encode()) for number in range(len(trees))]
        made = ffi.new("struct inside_mount[]", max(len(trees), 1))
        for number, tree in enumerate(trees):
            made[number].tree, made[number].target = tree, targets[number]
        lib.inside_attach_all(space, made, len(trees))
        return [one.error for one in made[0 : len(trees)]]

    def all_of_them() -> list[list[int]]:
        trees = [lib.shim_open_tree(b"/etc") for _ in range(2)]
        return [visit(mnt, trees[0], -1, trees[1]), visit(-1, trees[0], trees[1]), visit(mnt)]

    assert in_child(all_of_them) == [[0, errno.EBADF, 0], [errno.EBADF] * 2, []]
