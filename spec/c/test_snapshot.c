/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <ftw.h>
#include <limits.h>

#include "../../core/snapshot.c"

/* --- a folder to read --------------------------------------------------------------------------- */

static char root[] = "/tmp/sluice-snapshot-XXXXXX";

static const char *path_of(const char *name) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void begin(void) {
    strcpy(root, "/tmp/sluice-snapshot-XXXXXX");
    if (!mkdtemp(root))
        abort();
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void end(void) {
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_bytes(const char *name, const char *data, size_t len) {
    FILE *f = fopen(path_of(name), "w");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
}

static void put(const char *name, const char *text) {
    put_bytes(name, text, strlen(text));
}

static void put_folder(const char *name) {
    if (mkdir(path_of(name), 0700) != 0)
        abort();
}

static char why[SNAPSHOT_ERROR_BYTES];

static struct snapshot *read_root(void) {
    struct snapshot_source source = {.folder = root};
    why[0] = '\0';
    return snapshot_read(&source, why);
}

/* The names, one after another. */
static const char *names(const struct snapshot *s) {
    static char text[2000];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < s->count && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", len ? " " : "", s->files[i].name);
    return text;
}

/* Reads the folder, which must fail with a sentence that names `about`. */
static void check_refused(const char *about) {
    CHECK_NOTE("%s", about);
    struct snapshot *s = read_root();
    CHECK(s == NULL);
    snapshot_release(s);
    CHECK(strstr(why, about) != NULL);
    CHECK(strchr(why, '\n') == NULL);
}

/* --- reading ------------------------------------------------------------------------------------ */

TEST(scripts_lie_in_the_folder_and_modules_below_it) {
    begin();
    put("b.lua", "return 2");
    put("a.lua", "");
    put("README.md", "no script");
    put("a.lua~", "an editor's");
    put("lua", "no script either");
    put(".hidden.lua", "error()");
    put_folder(".git");
    put(".git/x.lua", "error()");
    put_folder("lib");
    put("lib/util.lua", "return {}");
    put("lib/data.json", "[1]");
    put("lib/.swp", "an editor's");
    put_folder("lib/deep");
    put("lib/deep/x.lua", "y");
    put_folder("empty.lua");
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK_EQ_STR(names(s), "a.lua b.lua lib/data.json lib/deep/x.lua lib/util.lua");
    CHECK_EQ_BUF(snapshot_find(s, "b.lua")->text, "return 2");
    CHECK_EQ_INT(snapshot_find(s, "a.lua")->text.len, 0);
    CHECK_EQ_BUF(snapshot_find(s, "lib/deep/x.lua")->text, "y");
    CHECK(snapshot_find(s, "lib") == NULL);
    CHECK(snapshot_find(s, "util.lua") == NULL);
    snapshot_release(s);
    end();
}

TEST(any_bytes_are_read_as_they_are) {
    enum { BYTES = 100000 };
    static char data[BYTES];
    begin();
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (char)(i * 31 >> 3);
    put_bytes("a.lua", data, BYTES);
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    struct slice text = buf_slice(&snapshot_find(s, "a.lua")->text);
    CHECK(slice_equal(text, slice_make(data, BYTES)));
    snapshot_release(s);
    end();
}

TEST(links_are_followed_and_dangling_ones_passed_over) {
    begin();
    put("real.lua", "return 1");
    CHECK_EQ_INT(symlink("real.lua", path_of("link.lua")), 0);
    CHECK_EQ_INT(symlink("nowhere", path_of("dangling.lua")), 0);
    CHECK_EQ_INT(symlink("circle.lua", path_of("circle.lua")), 0);
    CHECK_EQ_INT(symlink("user@host.1234:5", path_of(".#real.lua")), 0); /* an editor's lock */
    put_folder("..data"); /* a mounted map: the folder is hidden, links go through it */
    put("..data/mounted.lua", "return 2");
    CHECK_EQ_INT(symlink("..data/mounted.lua", path_of("mounted.lua")), 0);
    put_folder("lib");
    put("lib/m.lua", "");
    CHECK_EQ_INT(symlink("lib", path_of("other")), 0);
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK_EQ_STR(names(s), "lib/m.lua link.lua mounted.lua other/m.lua real.lua");
    CHECK_EQ_BUF(snapshot_find(s, "link.lua")->text, "return 1");
    CHECK_EQ_BUF(snapshot_find(s, "mounted.lua")->text, "return 2");
    snapshot_release(s);
    end();
}

/* Opening one for reading would wait for a writer. */
TEST(what_is_no_file_is_passed_over) {
    begin();
    put("a.lua", "");
    CHECK_EQ_INT(mkfifo(path_of("pipe.lua"), 0600), 0);
    CHECK_EQ_INT(symlink("/dev/zero", path_of("endless.lua")), 0);
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK_EQ_STR(names(s), "a.lua");
    snapshot_release(s);
    end();
}

TEST(a_file_of_up_to_one_mebibyte_is_read) {
    static char data[SNAPSHOT_FILE_BYTES + 1];
    begin();
    memset(data, '-', sizeof data);
    put_bytes("a.lua", data, SNAPSHOT_FILE_BYTES);
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK_EQ_INT(snapshot_find(s, "a.lua")->text.len, SNAPSHOT_FILE_BYTES);
    snapshot_release(s);
    put_bytes("a.lua", data, SNAPSHOT_FILE_BYTES + 1);
    check_refused("a.lua is larger than 1 MiB");
    end();
}

TEST(a_folder_without_a_script_is_refused) {
    begin();
    check_refused("no script in");
    put_folder("lib");
    put("lib/only.lua", "");
    check_refused("no script in");
    put("notes.txt", "");
    put(".lua", "");
    check_refused("no script in");
    put("x.lua", "");
    struct snapshot *s = read_root();
    CHECK(s != NULL);
    snapshot_release(s);
    end();
}

TEST(a_folder_that_is_none_is_refused_by_name) {
    begin();
    end();
    check_refused(root);
    check_refused("No such file");
    begin();
    struct snapshot_source source = {.folder = (char *)(uintptr_t)path_of("file")};
    put("file", "");
    CHECK(snapshot_read(&source, why) == NULL);
    CHECK(strstr(why, "Not a directory") != NULL);
    end();
}

TEST(folders_within_folders_end_somewhere) {
    char name[100] = "";
    begin();
    put("a.lua", "");
    for (int depth = 1; depth <= SNAPSHOT_DEPTH; depth++) {
        snprintf(name + strlen(name), 10, "%sd", depth > 1 ? "/" : "");
        put_folder(name);
    }
    snprintf(name + strlen(name), 10, "/m.lua");
    put(name, "");
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK(snapshot_find(s, name) != NULL);
    snapshot_release(s);
    CHECK_EQ_INT(symlink("..", path_of("d/up")), 0); /* round and round */
    check_refused("nested too deeply");
    end();
}

TEST(so_many_files_and_no_more) {
    begin();
    put("a.lua", "");
    put_folder("lib");
    for (int i = 0; i < 64; i++) { /* 63 files, seen in 65 places */
        char name[40];
        snprintf(name, sizeof name, "lib%d", i);
        CHECK_EQ_INT(symlink("lib", path_of(name)), 0);
        snprintf(name, sizeof name, "lib/%d", i);
        if (i < 63)
            put(name, "");
    }
    struct snapshot *s = read_root();
    REQUIRE(s != NULL);
    CHECK_EQ_INT(s->count, SNAPSHOT_FILES);
    snapshot_release(s);
    put("b.lua", "");
    check_refused("more than 4096 files");
    end();
}

/* --- what is read ------------------------------------------------------------------------------- */

TEST(snapshots_are_equal_by_names_and_bytes) {
    begin();
    put("a.lua", "one");
    put("b.lua", "two");
    struct snapshot *before = read_root(), *after = read_root();
    REQUIRE(before && after);
    CHECK(snapshot_equal(before, after));
    snapshot_release(after);
    put("b.lua", "twO");
    after = read_root();
    CHECK(!snapshot_equal(before, after));
    snapshot_release(after);
    put("b.lua", "two");
    put("c.lua", "");
    after = read_root();
    CHECK(!snapshot_equal(before, after));
    CHECK(!snapshot_equal(after, before));
    snapshot_release(after);
    remove(path_of("c.lua"));
    CHECK_EQ_INT(symlink("b.lua", path_of("c.lua")), 0);
    remove(path_of("a.lua"));
    after = read_root();
    CHECK(!snapshot_equal(before, after)); /* as many files, another name */
    snapshot_release(after);
    snapshot_release(before);
    end();
}

TEST(files_that_a_host_gives_are_taken_as_they_are) {
    struct snapshot_source source = {0};
    struct snapshot *s = source.fixed = snapshot_new();
    REQUIRE(s != NULL);
    CHECK_EQ_INT(snapshot_add(s, "z.lua", slice_of("1")), 0);
    CHECK_EQ_INT(snapshot_add(s, "lib/a.lua", slice_make(NULL, 0)), 0);
    CHECK_EQ_INT(snapshot_add(s, "b.lua", slice_of("2")), 0);
    snapshot_sort(s);
    CHECK_EQ_STR(names(s), "b.lua lib/a.lua z.lua");
    struct snapshot *read = snapshot_read(&source, why);
    CHECK(read == s);
    snapshot_source_deinit(&source);
    CHECK(source.fixed == NULL);
    CHECK_EQ_BUF(snapshot_find(read, "z.lua")->text, "1");
    snapshot_release(read);
    snapshot_release(NULL);
    struct snapshot *none = snapshot_new();
    snapshot_sort(none);
    CHECK(snapshot_find(none, "") == NULL);
    snapshot_release(none);
}

TEST(without_memory_it_is_said_and_nothing_is_lost) {
    begin();
    put("a.lua", "one");
    put_folder("lib");
    put("lib/b.lua", "two");
    for (int n = 0;; n++) {
        check_alloc_fail_at(n);
        struct snapshot *s = read_root();
        CHECK_NOTE("allocation %d", n);
        if (!check_alloc_disarm()) {
            CHECK(s != NULL);
            CHECK(n >= 5);
            snapshot_release(s);
            break;
        }
        CHECK(s == NULL);
        CHECK(strlen(why) > 0);
    }
    end();
}

static int visits, visits_left;

static int visit(void *context, const struct snapshot_entry *entry, char *error) {
    struct buf *seen = context;
    CHECK(S_ISDIR(entry->st->st_mode) == entry->folder);
    CHECK(strncmp(entry->path, root, strlen(root)) == 0);
    if (visits++ == 0)
        CHECK_EQ_STR(entry->name, "");
    buf_appendf(seen, "<%s%s>", entry->name, entry->folder ? "/" : "");
    if (visits_left-- > 0)
        return 0;
    explain(error, "enough");
    return -EAGAIN;
}

TEST(a_walk_sees_the_folders_and_files_that_are_read) {
    static const char *const SEEN[] = {"</>", "<a.lua>", "<lib/>", "<lib/b.txt>", "<empty/>"};
    struct buf seen = {0};
    begin();
    put("a.lua", "one");
    put("b.txt", "");
    put_folder(".hidden");
    put_folder("empty");
    put_folder("lib");
    put("lib/b.txt", "two");
    visits = 0;
    visits_left = 100;
    CHECK_EQ_INT(snapshot_walk(root, visit, &seen, why), 0);
    buf_append_char(&seen, '\0');
    CHECK_EQ_INT(visits, sizeof SEEN / sizeof *SEEN);
    for (size_t i = 0; i < sizeof SEEN / sizeof *SEEN; i++) {
        CHECK_NOTE("%s in %s", SEEN[i], seen.data);
        CHECK(strstr(seen.data, SEEN[i]) != NULL);
    }
    for (int n = 0; n < 5; n++) { /* ended by the visitor, at any place */
        visits = 0;
        visits_left = n;
        CHECK_EQ_INT(snapshot_walk(root, visit, &seen, why), -EAGAIN);
        CHECK_EQ_INT(visits, n + 1);
        CHECK_EQ_STR(why, "enough");
    }
    buf_deinit(&seen);
    end();
}

CHECK_MAIN()
