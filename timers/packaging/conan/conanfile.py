"""The timer library as a Conan 2 package, from the checkout in which this recipe lies:

    conan create CHECKOUT/timers/packaging/conan
"""

import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, rmdir


class Idlewheel(ConanFile):
    name = "idlewheel"
    version = "0.1.0"
    description = ("Timers for servers: timer wheels and other backends, and drop-in timeouts for "
                   "Boost.Asio and Boost.Beast")
    license = "MIT"
    topics = ("timer", "timeout", "timer-wheel", "asio", "beast", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps"

    def export_sources(self):
        checkout = os.path.join(self.recipe_folder, "..", "..", "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "timers/*", "scripts/*.cmake"):
            copy(self, pattern, checkout, self.export_sources_folder, excludes="*/build/*")

    def requirements(self):
        self.requires("boost/[>=1.81]", transitive_headers=True, options={"header_only": True})

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("SERVER", "BENCH", "EXAMPLES", "TESTS"):
            toolchain.cache_variables[f"IDLEWHEEL_{part}"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "idlewheel")
        self.cpp_info.set_property("cmake_target_name", "idlewheel::timers")
        self.cpp_info.includedirs = [os.path.join("include", "idlewheel")]
        self.cpp_info.requires = ["boost::headers"]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread"]
