/* SPDX-License-Identifier: MIT */
/* Preloaded together with a sanitizer's runtime: once it is loaded, children need not load it too. Built with the
 * sanitizer, so that the loader sets up the runtime, which may execute the program anew, before this. */
#include <stdlib.h>

__attribute__((constructor)) static void unpreload(void) {
    unsetenv("LD_PRELOAD");
}
