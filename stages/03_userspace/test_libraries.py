"""The libraries that we find are those that the loader itself finds, as ldd(1) shows."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sysconfig

import pytest

PRINT_LIBRARIES = os.environ["PRINT_LIBRARIES"]


def run(*command: str, cwd: pathlib.Path | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def by_ldd(program: str, cwd: pathlib.Path | None = None) -> set[str]:
    """What the loader loads; links are resolved, because a file may have several paths."""
    result = subprocess.run(["ldd", program], capture_output=True, text=True, cwd=cwd, check=False)
    found = set()
    for line in result.stdout.splitlines():
        assert "not found" not in line
        words = line.split("=>")[-1].split()
        if words[-1].startswith("(0x") and not words[0].startswith("linux-"):  # the vDSO
            found.add(os.path.realpath(pathlib.Path(cwd or "/", words[0])))
    assert found or "statically linked" in result.stdout or "not a dynamic" in result.stderr
    return found


def by_us(program: str, cwd: pathlib.Path | None = None) -> set[str]:
    paths = run(PRINT_LIBRARIES, "--", program, cwd=cwd).splitlines()
    assert all(path.startswith("/") for path in paths)
    return {os.path.realpath(path) for path in paths}


def same_machine(path: pathlib.Path) -> bool:
    """Whether it is an ELF file for this machine: class, byte order and machine of our Python."""
    ours = pathlib.Path("/proc/self/exe").read_bytes()[:20]
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return False
    return header[:6] == ours[:6] and header[18:20] == ours[18:20]


def some_programs() -> list[str]:
    """Every tenth file of some directories, at least one of each."""
    chosen = []
    for folder in ("/usr/bin", "/usr/sbin", f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
                   "/usr/lib/git-core", sysconfig.get_config_var("DESTSHARED"), "/usr/libexec"):
        path = pathlib.Path(folder)
        if path.is_dir():
            files = [str(f) for f in sorted(path.iterdir()) if f.is_file() and same_machine(f)]
            chosen += files[::max(1, min(10, len(files) // 5))]
    return chosen


def test_programs_of_this_machine():
    programs = some_programs()
    assert len(programs) > 20
    differ = {p: by_us(p) ^ by_ldd(p) for p in programs
              if "not found" not in run("sh", "-c", 'ldd "$0" || :', p)}
    # ldd runs the loader on a library, and so lists it, even if nothing asks for it.
    loader = {path for path in by_ldd("/bin/true") if "/ld-" in path}
    assert len(loader) == 1
    assert not {p: d for p, d in differ.items() if d - (loader if ".so" in p else set())}


@pytest.fixture(name="build")
def fixture_build(tmp_path):
    """Compiles: build("lib/liba.so", "-Wl,...") makes a library, build("main", ...) a program."""

    def build(name: str, *flags: str) -> pathlib.Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tmp_path / "source.c"
        if path.suffix == ".so":
            source.write_text(f"int {path.stem}(void) {{ return 0; }}\n")
            kind = ["-shared", "-fPIC"]
        else:
            source.write_text("int main(void) { return 0; }\n")
            kind = []
        # --no-as-needed: the needs are the point, not the calls.
        run("gcc", *kind, "-o", name, "source.c", "-Wl,--no-as-needed",
            "-Wl,--allow-shlib-undefined", *flags, cwd=tmp_path)
        return path

    return build


RPATH = "-Wl,--disable-new-dtags,-rpath,"
RUNPATH = "-Wl,--enable-new-dtags,-rpath,"


def check(program: pathlib.Path, *expected: pathlib.Path) -> None:
    """Ours are ldd's, and each of `expected` is among them."""
    ours = by_us(str(program), program.parent)
    assert ours == by_ldd(str(program), program.parent)
    assert {str(path) for path in expected} <= ours


@pytest.mark.parametrize("flag", [RPATH, RUNPATH])
@pytest.mark.parametrize("origin", ["$ORIGIN", "${ORIGIN}"])
def test_origin(build, flag, origin):
    library = build("lib/liba.so", "-Wl,-soname,liba.so")
    check(build("bin/main", flag + origin + "/../lib", "-Llib", "-la"), library)


def test_origin_is_where_the_link_to_the_program_leads(build, tmp_path):
    library = build("lib/liba.so")
    program = build("bin/main", RUNPATH + "$ORIGIN/../lib", "-Llib", "-la")
    (tmp_path / "link").symlink_to(program)
    # ldd looks beside the link, the kernel tells the real place to a program that runs.
    assert str(library) in by_us(str(tmp_path / "link"))


# What the loader may call a processor, and which of its features have a folder up to glibc 2.36.
PLATFORMS = (os.uname().machine, "haswell", "xeon_phi")
LEGACY_FOLDERS = ("tls", *PLATFORMS, "avx512_1", "atomics")


@pytest.mark.parametrize("token", ["$LIB", "${LIB}", "$PLATFORM", "${PLATFORM}"])
def test_lib_and_platform(build, token):
    multiarch = run("gcc", "-print-multiarch").strip()
    names = {"LIB": [f"lib/{multiarch}" if multiarch else "lib64"],
             "PLATFORM": PLATFORMS}[token.strip("${}")]
    for name in names:
        build(f"top/{name}/liba.so")
    program = build("main", RUNPATH + "$ORIGIN/top/" + token, f"-Ltop/{names[0]}", "-la")
    check(program)
    [found] = [path for path in by_us(str(program)) if path.endswith("/liba.so")]
    assert found in {str(program.parent / "top" / name / "liba.so") for name in names}


@pytest.mark.as_shipped  # an emulated sanitizer takes half a minute for each start
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None or os.uname().machine != "x86_64",
                    reason="runs x86-64 programs in qemu-x86_64 (package qemu-user)")
@pytest.mark.parametrize("cpu", ["Nehalem", "Haswell", "Cascadelake-Server", "EPYC", "qemu64"])
@pytest.mark.parametrize("variants", ["$ORIGIN/top/$PLATFORM", "$ORIGIN/top"])
def test_other_processors_than_ours(build, cpu, variants):
    """The loader and we run on an emulated processor: Intel's have names of their own."""
    plain = build("top/liba.so")
    for folder in ("", *(f"glibc-hwcaps/x86-64-v{n}/" for n in (2, 3, 4)),
                   *(f"{folder}/" for folder in LEGACY_FOLDERS)):
        library = plain.parent / folder / "liba.so"
        if library != plain:
            library.parent.mkdir(parents=True)
            shutil.copy(plain, library)
    program = str(build("main", RUNPATH + variants, "-Ltop", "-la"))
    loader = run("readelf", "-l", program).split("program interpreter: ")[1].split("]")[0]
    emulated = ("qemu-x86_64", "-cpu", cpu)
    while True:
        listed = run(*emulated, loader, "--list", program).splitlines()
        [found] = [line.split()[2] for line in listed if "liba.so" in line]
        ours = run(*emulated, PRINT_LIBRARIES, "--", program).splitlines()
        assert os.path.realpath(found) in map(os.path.realpath, ours)
        if os.path.realpath(found) == str(plain) or "$" in variants:
            break
        pathlib.Path(found).unlink()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_legacy_folders_for_better_processors(build, tmp_path, depth):
    """Below each library folder up to glibc 2.36; which of them, and in which order, ldd knows."""
    plain = build("lib/liba.so")
    variants = [tmp_path / "lib" / "/".join(folders) / "liba.so"
                for folders in itertools.product(LEGACY_FOLDERS, repeat=depth)]
    for variant in variants:
        variant.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(plain, variant)
    program = build("main", RUNPATH + "$ORIGIN/lib", "-Llib", "-la")
    found = ""
    while found != str(plain):
        check(program)
        [found] = [path for path in by_us(str(program)) if path.endswith("/liba.so")]
        pathlib.Path(found).unlink()


def test_rpath_serves_what_is_loaded_later(build):
    b = build("b/libb.so", "-Wl,-soname,libb.so")
    a = build("a/liba.so", "-Wl,-soname,liba.so", "-Lb", "-lb")
    check(build("main", RPATH + "$ORIGIN/a:$ORIGIN/b", "-La", "-la"), a, b)


def test_runpath_serves_own_needs_only(build):
    build("b/libb.so", "-Wl,-soname,libb.so")
    build("a/liba.so", "-Wl,-soname,liba.so", "-Lb", "-lb")
    program = build("main", RUNPATH + "$ORIGIN/a:$ORIGIN/b", "-La", "-la")
    assert "libb.so => not found" in run("ldd", str(program))
    result = subprocess.run([PRINT_LIBRARIES, "--", program], capture_output=True, text=True,
                            check=False)
    assert result.returncode == 125
    a = program.parent / "a/liba.so"
    assert result.stderr == (f"print_libraries: {program} needs the library libb.so (for {a}): "
                             "No such file or directory\n")


def test_runpath_of_a_library_switches_rpath_off(build, tmp_path):
    """liba has a RUNPATH: the program's RPATH, where there is a libb too, is not for its needs."""
    build("wrong/libb.so", "-Wl,-soname,libb.so")
    right = build("right/libb.so", "-Wl,-soname,libb.so")
    a = build("a/liba.so", "-Wl,-soname,liba.so", RUNPATH + str(tmp_path / "right"), "-Lright",
              "-lb")
    check(build("main", RPATH + "$ORIGIN/a:$ORIGIN/wrong", "-La", "-la"), a, right)


def test_rpath_of_the_nearest_comes_first(build, tmp_path):
    build("far/libb.so", "-Wl,-soname,libb.so")
    near = build("near/libb.so", "-Wl,-soname,libb.so")
    a = build("a/liba.so", "-Wl,-soname,liba.so", RPATH + str(tmp_path / "near"), "-Lnear", "-lb")
    check(build("main", RPATH + "$ORIGIN/a:$ORIGIN/far", "-La", "-la"), a, near)


def test_breadth_first_the_first_of_a_name_holds_for_all(build, tmp_path):
    """main needs a and b; a needs another b: it gets that of main, whose turn it was earlier."""
    build("deep/libb.so", "-Wl,-soname,libb.so")
    a = build("a/liba.so", "-Wl,-soname,liba.so", RUNPATH + str(tmp_path / "deep"), "-Ldeep", "-lb")
    b = build("near/libb.so", "-Wl,-soname,libb.so")
    check(build("main", RUNPATH + "$ORIGIN/a:$ORIGIN/near", "-La", "-Lnear", "-la", "-lb"), a, b)


def test_a_soname_answers_for_a_later_need(build, tmp_path):
    """The file libx.so says that it is liby.so: it is what liba gets when it needs liby.so."""
    build("other/liby.so", "-Wl,-soname,liby.so")
    a = build("a/liba.so", "-Wl,-soname,liba.so", RUNPATH + str(tmp_path / "other"), "-Lother",
              "-ly")
    build("x/libx.so")
    program = build("main", RUNPATH + "$ORIGIN/a:$ORIGIN/x", "-Lx", "-lx", "-La", "-la")
    build("x/libx.so", "-Wl,-soname,liby.so")
    check(program, a, tmp_path / "x/libx.so")


def test_a_need_with_a_slash_is_a_path(build, tmp_path):
    library = build("sub/liba.so")
    check(build("main", str(library)), library)
    check(build("main", "sub/liba.so"), library)
    assert "sub/liba.so" in run("readelf", "-d", str(tmp_path / "main"))


def test_an_empty_folder_is_the_current_one(build):
    library = build("liba.so")
    check(build("main", RUNPATH + "/none::/none2", "-L.", "-la"), library)


def test_variants_for_better_processors(build, tmp_path):
    build("lib/liba.so")
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        build(f"lib/glibc-hwcaps/{level}/liba.so")
    check(build("main", RUNPATH + "$ORIGIN/lib", "-Llib", "-la"))
    # Of what is there, the best.
    (tmp_path / "lib/glibc-hwcaps/x86-64-v4/liba.so").unlink()
    check(tmp_path / "main")


def test_a_foreign_library_is_passed_over(build, tmp_path):
    library = build("lib/liba.so")
    foreign = tmp_path / "foreign/liba.so"
    foreign.parent.mkdir()
    header = bytearray(library.read_bytes())
    header[18:20] = (0x2A).to_bytes(2, "little")
    foreign.write_bytes(header)
    check(build("main", RUNPATH + "$ORIGIN/foreign:$ORIGIN/lib", "-Llib", "-la"), library)


def test_no_default_folders(build):
    program = build("main", "-Wl,-z,nodefaultlib")
    assert "libc.so.6 => not found" in run("sh", "-c", f"ldd {program} || :")
    result = subprocess.run([PRINT_LIBRARIES, "--", program], capture_output=True, check=False)
    assert result.returncode == 125


def test_a_static_program_has_none(build):
    assert by_us(str(build("main", "-static"))) == set()
    assert by_us(str(build("pie", "-static-pie"))) == set()


@pytest.mark.as_shipped
def test_a_stage_has_none():
    assert by_us(PRINT_LIBRARIES) == set()


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="no musl-gcc (package musl-tools)")
def test_musl_is_loader_and_library_in_one(tmp_path):
    """It comes as libc.so, which glibc's ldd takes for the linker script of that name."""
    (tmp_path / "source.c").write_text("int main(void) { return 0; }\n")
    run("musl-gcc", "-o", "main", "source.c", cwd=tmp_path)
    [loader] = by_us(str(tmp_path / "main"))
    assert "musl" in loader


def test_an_unknown_loader_is_named(build):
    program = build("main", "-Wl,--dynamic-linker,/no/ld.so")
    result = subprocess.run([PRINT_LIBRARIES, "--", program], capture_output=True, text=True,
                            check=False)
    assert result.stderr == (f"print_libraries: {program} needs the loader /no/ld.so: "
                             "No such file or directory\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="puts a file over /etc/ld.so.cache: root only")
def test_the_cache_and_its_variants(build, tmp_path):
    build("lib/liba.so", "-Wl,-soname,liba.so")
    build("lib/glibc-hwcaps/x86-64-v2/liba.so", "-Wl,-soname,liba.so")
    build("lib/glibc-hwcaps/x86-64-v3/liba.so", "-Wl,-soname,liba.so")
    for folder in LEGACY_FOLDERS:
        build(f"lib/{folder}/liba.so", "-Wl,-soname,liba.so")
        build(f"legacy/{folder}/libb.so", "-Wl,-soname,libb.so")
    build("legacy/libb.so", "-Wl,-soname,libb.so")
    program = build("main", "-Llib", "-la", "-Llegacy", "-lb")
    (tmp_path / "conf").write_text(
        f"{tmp_path}/lib\n{tmp_path}/legacy\ninclude /etc/ld.so.conf\n")
    run("/sbin/ldconfig", "-X", "-f", str(tmp_path / "conf"), "-C", str(tmp_path / "cache"))
    script = 'mount --bind "$1" /etc/ld.so.cache && ldd "$2" && echo == && "$3" -- "$2"'
    out = run("unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "cache"), str(program),
              PRINT_LIBRARIES)
    ldd, ours = out.split("==\n")
    lines = [line for line in ldd.splitlines() if "liba.so" in line or "libb.so" in line]
    assert len(lines) == 2
    for line in lines:
        assert str(tmp_path) in line
        assert line.split("=>")[1].split()[0] in ours.splitlines()
