"""Builds the native halls of `kernels/` and stamps one build id into the three packages.

    kernels/<hall>/_<hall>.pyx   the doorway (Cython), compiled with the project's own C below it:
    kernels/<hall>/*.c           the hall's kernels, one file an instruction set (`#pragma GCC target` inside)
    kernels/common/*.c           CPU detection and what every hall shares

A new hall is a new folder with such a `.pyx`; nothing here has to change. Our own C is compiled with the strict flags
below, Cython's generated C is not ours to keep warning-free.
"""

import hashlib
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.modified import newer_group

ROOT = Path(__file__).parent.resolve()
PACKAGES = ("kernels", "firmware_bridge", "runtime")
# Nobody reads the processor's flags of float exceptions; a compiler that has to keep them leaves loops with a clamp, as
# e^x has one, without vectors on AVX2 and NEON. Values do not depend on it.
OPTIMISE = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math"]
STRICT = ["-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
GENERATED = "_build_id.py"


def build_id() -> str:
    """Returns the first 16 hex digits of the SHA-256 over every source file of the three packages, names included."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            is_generated = path.name == GENERATED or (path.with_suffix(".pyx").exists() and path.suffix == ".c")
            if path.suffix in {".py", ".pyx", ".c", ".h", ".toml"} and not is_generated:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def stamp(target: Path) -> None:
    for package in PACKAGES:
        (target / package).mkdir(parents=True, exist_ok=True)
        says = '"""Written by setup.py: the three packages of one build carry the same id."""'
        (target / package / GENERATED).write_text(f'{says}\n\nBUILD_ID = "{BUILD_ID}"\n')


def own_c(extension_name: str) -> list[str]:
    """Returns the C of the hall `kernels.<hall>._<hall>`: its own and the common ones, without Cython's output."""
    hall = ROOT.joinpath(*extension_name.split(".")[:-1])
    generated = hall / f"{extension_name.rpartition('.')[2]}.c"
    found = [path for path in sorted(hall.glob("*.c")) if path != generated] + sorted(ROOT.glob("kernels/common/*.c"))
    return [path.relative_to(ROOT).as_posix() for path in found]


def halls() -> list[Extension]:
    found = []
    for pyx in sorted(ROOT.glob("kernels/*/_*.pyx")):
        hall = pyx.parent
        extension = Extension(
            f"kernels.{hall.name}.{pyx.stem}",
            [pyx.relative_to(ROOT).as_posix()],
            include_dirs=["kernels"],
            extra_compile_args=[*OPTIMISE, "-fvisibility=hidden", "-Wno-unused-function", "-Wno-sign-compare"],
            extra_link_args=["-pthread"],
            depends=["setup.py", *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("kernels/**/*.h"))],
        )
        extension.depends += own_c(extension.name)
        found.append(extension)
    return found


class BuildHalls(build_ext):
    """`build_ext` that compiles a hall's own C with the strict flags before Cython's part."""

    def build_extension(self, ext: Extension) -> None:
        built = self.get_ext_fullpath(ext.name)
        if not (self.force or newer_group([*ext.sources, *ext.depends], built, "newer")):
            return
        ext.extra_objects = self.compiler.compile(
            own_c(ext.name),
            output_dir=os.path.join(self.build_temp, ext.name),
            include_dirs=ext.include_dirs,
            extra_postargs=[*OPTIMISE, *STRICT, "-fPIC", "-pthread"],
            depends=ext.depends,
        )
        super().build_extension(ext)

    def run(self) -> None:
        super().run()
        if self.inplace:
            stamp(ROOT)


class BuildStamped(build_py):
    """`build_py` that writes the build id beside the modules that it copies."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            stamp(Path(self.build_lib))


BUILD_ID = build_id()
setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    cmdclass={"build_ext": BuildHalls, "build_py": BuildStamped},
    ext_modules=cythonize(
        halls(),
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "embedsignature": True},
    ),
)
