"""The recipes of vcpkg and Conan are well-formed, and what they say of the project is true. Neither
program is in Debian, so stand-ins do what their functions are documented to do: configure, install."""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
PORT = HERE / "vcpkg" / "idlewheel"
VERSION = re.search(r"VERSION (\d+\.\d+\.\d+)", (CHECKOUT / "CMakeLists.txt").read_text())[1]
BOOST = re.search(r"find_package\(Boost (\S+)", (CHECKOUT / "timers/CMakeLists.txt").read_text())[1]
HEADERS = ("timers/timer_service.hpp", "timers/asio/driver.hpp", "timers/asio/wheel_service.hpp")

VCPKG = r"""
function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${arg_SOURCE_PATH} -B ${BUILD}
    -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS} --warn-uninitialized
    COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()
function(vcpkg_cmake_install)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE_NAME;CONFIG_PATH" "")
  file(RENAME ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}
    ${CURRENT_PACKAGES_DIR}/share/${arg_PACKAGE_NAME})
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  file(COPY ${arg_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/idlewheel)
endfunction()
"""


class Vcpkg(unittest.TestCase):
    def test_the_manifest(self):
        manifest = json.loads((PORT / "vcpkg.json").read_text())
        self.assertEqual(manifest["name"], PORT.name)
        self.assertEqual(manifest["version"], VERSION)
        self.assertEqual(manifest["license"], "MIT")
        boost = [each for each in manifest["dependencies"] if each["name"].startswith("boost-")]
        self.assertTrue(boost)
        for each in boost:
            self.assertEqual(each["version>="], f"{BOOST}.0")

    def test_the_port_installs_the_library(self):
        with tempfile.TemporaryDirectory() as scratch:
            package = pathlib.Path(scratch) / "package"
            stand_in = pathlib.Path(scratch) / "port.cmake"
            stand_in.write_text(VCPKG + f"include({PORT}/portfile.cmake)\n")
            done = subprocess.run(
                [os.environ.get("CMAKE", "cmake"), f"-DCURRENT_PACKAGES_DIR={package}",
                 f"-DBUILD={scratch}/build", "-P", stand_in], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("not used by the project", done.stderr)
            for header in HEADERS:
                self.assertTrue((package / "include/idlewheel" / header).is_file(), header)
            self.assertTrue((package / "share/idlewheel/idlewheel-config.cmake").is_file())
            self.assertTrue((package / "share/idlewheel/LICENSE").is_file())


def stand_ins() -> dict[str, types.ModuleType]:
    """Modules with the names of Conan's, in which every function does nothing."""
    names = ("conan", "conan.tools", "conan.tools.build", "conan.tools.cmake", "conan.tools.files")
    modules = {name: types.ModuleType(name) for name in names}
    modules["conan"].ConanFile = object
    modules["conan.tools.build"].check_min_cppstd = lambda *_: None
    modules["conan.tools.cmake"].CMake = modules["conan.tools.cmake"].CMakeToolchain = object
    modules["conan.tools.files"].copy = modules["conan.tools.files"].rmdir = lambda *_, **__: None
    return modules


def copy_like_conan(_, pattern: str, source: str, target: str, excludes: str = "") -> None:
    """A pattern's asterisk stands for folders, too."""
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), source)
            if fnmatch.fnmatch(path, pattern) and not fnmatch.fnmatch("/" + path, excludes):
                os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
                shutil.copy(os.path.join(source, path), os.path.join(target, path))


class Conan(unittest.TestCase):
    def recipe(self):
        kept = dict(sys.modules)
        self.addCleanup(lambda: (sys.modules.clear(), sys.modules.update(kept)))
        sys.modules.update(stand_ins())
        scope = {"__name__": "conanfile"}
        source = HERE / "conan" / "conanfile.py"
        exec(compile(source.read_text(), str(source), "exec"), scope)
        return scope["Idlewheel"], scope

    def test_the_recipe(self):
        recipe, _ = self.recipe()
        self.assertEqual((recipe.name, recipe.version), ("idlewheel", VERSION))
        required = []
        made = recipe()
        made.requires = lambda what, **_: required.append(what)
        made.requirements()
        self.assertEqual(required, [f"boost/[>={BOOST}]"])

    def test_what_it_exports_can_be_configured_and_installed(self):
        recipe, scope = self.recipe()
        scope["copy"] = copy_like_conan
        scope["CMakeToolchain"] = lambda _: toolchain
        toolchain = types.SimpleNamespace(cache_variables={}, generate=lambda: None)
        made = recipe()
        made.recipe_folder = str(HERE / "conan")
        made.generate()
        flags = [f"-D{name}={value}" for name, value in toolchain.cache_variables.items()]
        self.assertEqual(len(flags), 4)
        with tempfile.TemporaryDirectory() as scratch:
            made.export_sources_folder = f"{scratch}/sources"
            made.export_sources()
            cmake = os.environ.get("CMAKE", "cmake")
            subprocess.run([cmake, "-G", "Ninja", "-S", f"{scratch}/sources", "-B",
                            f"{scratch}/build", *flags], check=True, capture_output=True)
            subprocess.run([cmake, "--install", f"{scratch}/build", "--prefix",
                            f"{scratch}/package"], check=True, capture_output=True)
            for header in HEADERS:
                installed = pathlib.Path(scratch) / "package/include/idlewheel" / header
                self.assertTrue(installed.is_file(), header)

    def test_it_says_where_the_headers_are(self):
        recipe, _ = self.recipe()
        made = recipe()
        properties = {}
        made.cpp_info = types.SimpleNamespace(set_property=properties.__setitem__)
        made.settings = types.SimpleNamespace(os="Linux")
        made.package_info()
        self.assertEqual(made.cpp_info.includedirs, ["include/idlewheel"])
        self.assertEqual(properties["cmake_target_name"], "idlewheel::timers")


if __name__ == "__main__":
    unittest.main()
