# Flags that every target of ours shares. Debian's hardening flags are on in every build type.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -gline-tables-only")
if(EVERSPAN_SANITIZE MATCHES "address" AND NOT EVERSPAN_FUZZ)
  set(CMAKE_CXX_FLAGS_DEBUG "-O0 -gline-tables-only")  # Built in half the time; its tests are short.
else()
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -gline-tables-only")
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_compile_options(-Wall -Wextra -Wpedantic -Wno-unused-parameter -Werror=unused-result
  -Werror=return-type -Werror=switch -Wno-missing-field-initializers
  -Wno-missing-designated-field-initializers -fstack-protector-strong
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
add_compile_definitions(BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_ASIO_DISABLE_VISIBILITY)
if(EVERSPAN_SANITIZE)
  add_compile_options(-fsanitize=${EVERSPAN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${EVERSPAN_SANITIZE})
else()
  add_compile_definitions($<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2> _GLIBCXX_ASSERTIONS)
endif()
if(EVERSPAN_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # A fuzzer that sees no branches of ours is blind.
endif()
add_link_options(-fuse-ld=mold -Wl,-z,relro,-z,now)

find_program(EVERSPAN_CCACHE ccache)
if(EVERSPAN_CCACHE)
  # base_dir, hash_dir=false and no prefix map in the hash: a second clone, or the pinned release, hits
  # the same cache. (Objects of any folder are the same: the map makes their paths relative.)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
    CCACHE_NOHASHDIR=1 CCACHE_IGNOREOPTIONS=-ffile-prefix-map=* CCACHE_SLOPPINESS=pch_defines,time_macros ${EVERSPAN_CCACHE})
endif()
