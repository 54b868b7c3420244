# SPDX-License-Identifier: MIT
# Finds what the core needs and gathers it in the interface target core_dependencies. Everything that is missing is
# named at once, with the packages of Debian and Alpine that have it.
find_package(Threads REQUIRED)

find_program(PKG_CONFIG_EXECUTABLE NAMES pkg-config pkgconf)
if(NOT PKG_CONFIG_EXECUTABLE)
  message(FATAL_ERROR "pkg-config is missing: run `make deps`, or install it (Debian: pkg-config, Alpine: pkgconf)")
endif()
find_package(PkgConfig QUIET REQUIRED)

set(missing "")

# sluice_need(NAME "what it is" "Debian's package" "Alpine's package" module...): makes PkgConfig::NAME of the first module that is there.
function(sluice_need name what debian alpine)
  pkg_search_module(${name} QUIET IMPORTED_TARGET ${ARGN})
  if(NOT ${name}_FOUND)
    list(JOIN ARGN " or " modules)
    set(missing "${missing}\n  ${what} (${modules}) (Debian: ${debian}, Alpine: ${alpine})" PARENT_SCOPE)
  endif()
endfunction()

if(NOT LUA_INCDIR OR SLUICE_TESTS OR SLUICE_FUZZ)
  sluice_need(LUA "the headers of Lua 5.4" liblua5.4-dev lua5.4-dev "lua5.4" "lua-5.4" "lua54" "lua>=5.4")
endif()
sluice_need(UV "libuv" libuv1-dev libuv-dev "libuv>=1.40")
sluice_need(ZLIB "zlib" zlib1g-dev zlib-dev "zlib>=1.2.12")
sluice_need(CRYPTO "OpenSSL's libcrypto" libssl-dev openssl-dev "libcrypto>=1.1.1")

# libjwt 2 and 3 have another interface.
pkg_check_modules(JWT QUIET IMPORTED_TARGET "libjwt>=1.10" "libjwt<2")
if(NOT JWT_FOUND)
  string(APPEND missing "\n  libjwt 1.x, 1.10 or later (Debian: libjwt-dev, Alpine: libjwt-dev)")
endif()

# llhttp: the system's library from version 9 on, which is strict by itself; an older one may have been built lenient, so
# then the C sources of Debian's node-llhttp are compiled here, strict.
pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET "libllhttp>=9")
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH)
if(NOT LLHTTP_FOUND AND NOT (LLHTTP_SOURCE_DIR AND LLHTTP_INCLUDE_DIR))
  string(APPEND missing "\n  llhttp (the library from version 9 on, or its C sources) (Debian: node-llhttp, Alpine: llhttp-dev)")
endif()

if(missing)
  message(FATAL_ERROR "To build Sluice, install what is missing, by hand or with `make deps`:${missing}\n")
endif()

add_library(core_dependencies INTERFACE)
# The interpreter that loads the module has the Lua library: only its headers are used here. LuaRocks says where.
if(LUA_INCDIR)
  target_include_directories(core_dependencies SYSTEM INTERFACE "${LUA_INCDIR}")
else()
  target_include_directories(core_dependencies SYSTEM INTERFACE ${LUA_INCLUDE_DIRS})
endif()
target_link_libraries(core_dependencies INTERFACE PkgConfig::UV PkgConfig::JWT PkgConfig::ZLIB PkgConfig::CRYPTO
                                                  Threads::Threads)

if(LLHTTP_FOUND)
  target_link_libraries(core_dependencies INTERFACE PkgConfig::LLHTTP)
else()
  add_library(llhttp STATIC "${LLHTTP_SOURCE_DIR}/llhttp.c" "${LLHTTP_SOURCE_DIR}/api.c" "${LLHTTP_SOURCE_DIR}/http.c")
  target_compile_options(llhttp PRIVATE -w)
  target_include_directories(llhttp SYSTEM PUBLIC "${LLHTTP_INCLUDE_DIR}")
  # Also for every file that includes the header: the macro is 0 by default, and 0 lets requests be smuggled.
  target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
  target_link_libraries(core_dependencies INTERFACE llhttp)
endif()

# hiredis is for the Redis log only.
pkg_check_modules(HIREDIS QUIET IMPORTED_TARGET "hiredis>=0.14")
if(HIREDIS_FOUND)
  target_link_libraries(core_dependencies INTERFACE PkgConfig::HIREDIS)
  target_compile_definitions(core_dependencies INTERFACE SLUICE_HAVE_HIREDIS=1)
else()
  message(STATUS "hiredis is missing (Debian: libhiredis-dev, Alpine: hiredis-dev): built without Redis")
endif()
# From 1.0 on it may have TLS, a library of its own that speaks through OpenSSL's libssl.
set(HIREDIS_TLS OFF)
pkg_check_modules(HIREDIS_SSL QUIET IMPORTED_TARGET "hiredis_ssl>=1.0")
pkg_check_modules(SSL QUIET IMPORTED_TARGET "libssl>=1.1.1")
if(HIREDIS_FOUND AND HIREDIS_SSL_FOUND AND SSL_FOUND)
  set(HIREDIS_TLS ON)
  target_link_libraries(core_dependencies INTERFACE PkgConfig::HIREDIS_SSL PkgConfig::SSL)
elseif(HIREDIS_FOUND)
  message(STATUS "hiredis ${HIREDIS_VERSION} has no TLS (hiredis_ssl, from 1.0 on): built without rediss://")
endif()
