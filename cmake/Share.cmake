# SPDX-License-Identifier: MIT
# Installs what goes below share/ and the unit for systemd: the manual page, completions for shells. All below the prefix.
include(GNUInstallDirs)

install(FILES share/man/sluice.1 DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES share/completion/sluice.bash DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME sluice)
install(FILES share/completion/sluice.zsh DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions" RENAME _sluice)
install(FILES share/completion/sluice.fish DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")

# The unit names the command by its path, and the prefix is known for certain only when it is installed.
if(SLUICE_SERVICE)
  install(CODE "
    set(BINDIR \"${BINDIR}\")
    cmake_path(ABSOLUTE_PATH BINDIR BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
    configure_file(\"${PROJECT_SOURCE_DIR}/share/systemd/sluice.service.in\" \"${PROJECT_BINARY_DIR}/sluice.service\" @ONLY)")
  install(FILES "${PROJECT_BINARY_DIR}/sluice.service" DESTINATION "lib/systemd/system")
endif()
