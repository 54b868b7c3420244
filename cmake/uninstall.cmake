# SPDX-License-Identifier: MIT
# Removes what `cmake --install build/release` put there last, and the folders of Sluice that are empty then. DESTDIR is honoured.
# usage: cmake [-D MANIFEST=build/release/install_manifest.txt] -P cmake/uninstall.cmake
if(NOT MANIFEST)
  set(MANIFEST "${CMAKE_CURRENT_LIST_DIR}/../build/release/install_manifest.txt")
endif()
if(NOT EXISTS "${MANIFEST}")
  message(FATAL_ERROR "nothing was installed: there is no ${MANIFEST}")
endif()

file(STRINGS "${MANIFEST}" paths)
set(folders "")
foreach(path IN LISTS paths)
  set(path "$ENV{DESTDIR}${path}")
  if(EXISTS "${path}" OR IS_SYMLINK "${path}")
    message(STATUS "Removing: ${path}")
    file(REMOVE "${path}")
  else()
    message(STATUS "Not there: ${path}")
  endif()
  # Folders below one named sluice are ours alone.
  get_filename_component(folder "${path}" DIRECTORY)
  while(folder MATCHES "/sluice(/|$)")
    list(APPEND folders "${folder}")
    get_filename_component(folder "${folder}" DIRECTORY)
  endwhile()
endforeach()

list(REMOVE_DUPLICATES folders)
list(SORT folders ORDER DESCENDING) # a folder comes after those in it
foreach(folder IN LISTS folders)
  file(GLOB left "${folder}/*" "${folder}/.*")
  list(FILTER left EXCLUDE REGEX "/\\.\\.?$")
  if(IS_DIRECTORY "${folder}" AND NOT left)
    file(REMOVE_RECURSE "${folder}")
  endif()
endforeach()
