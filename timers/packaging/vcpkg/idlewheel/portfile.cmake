# An overlay port: it takes the library from the checkout in which it lies.
#   vcpkg install idlewheel --overlay-ports=CHECKOUT/timers/packaging/vcpkg
set(VCPKG_BUILD_TYPE release) # header-only

get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DIDLEWHEEL_SERVER=OFF
    -DIDLEWHEEL_BENCH=OFF
    -DIDLEWHEEL_EXAMPLES=OFF
    -DIDLEWHEEL_TESTS=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME idlewheel CONFIG_PATH share/cmake/idlewheel)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
