/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "../../core/notify.c"

static char folder[] = "/tmp/sluice-notify.XXXXXX";

/* A socket that receives what is sent to `name`, a path or "@" and an abstract name. */
static int listen_at(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0);
    return fd;
}

static const char *receive(int fd) {
    static char text[2048];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    if (n < 0)
        return NULL;
    text[n] = '\0';
    return text;
}

static void check_arrives(const char *name) {
    struct notify n;
    int fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    notify_init(&n);
    notify_send(&n, "READY=1\nSTATUS=port %d", 8080);
    CHECK_EQ_STR(receive(fd), "READY=1\nSTATUS=port 8080");
    CHECK(receive(fd) == NULL);
    close(fd);
}

TEST(a_datagram_goes_to_a_path) {
    char path[sizeof folder + 8];
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/socket", folder);
    check_arrives(path);
    struct notify gone;
    notify_init(&gone); /* nobody listens there any more */
    notify_send(&gone, "READY=1");
    unlink(path);
    notify_send(&gone, "READY=1");
    rmdir(folder);
}

TEST(a_datagram_goes_to_an_abstract_name) {
    char name[64];
    snprintf(name, sizeof name, "@sluice-notify-%d", (int)getpid());
    check_arrives(name);
}

TEST(a_name_may_fill_the_address) {
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 2];
    memset(name, 'x', sizeof name);
    name[0] = '@';
    name[sizeof name - 2] = '\0';
    snprintf(name + 1, 32, "sluice-%d", (int)getpid());
    name[strlen(name)] = 'x';
    check_arrives(name);

    struct notify n;
    name[sizeof name - 2] = 'x';
    name[sizeof name - 1] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    notify_init(&n);
    CHECK_EQ_INT(n.len, 0);
}

TEST(what_names_no_socket_counts_as_unset) {
    static const char *const NAMES[] = {"", "/", "@", "relative/path", "vsock:2:1234"};
    struct notify n;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        CHECK_NOTE("name %s", NAMES[i]);
        setenv("NOTIFY_SOCKET", NAMES[i], 1);
        notify_init(&n);
        CHECK_EQ_INT(n.len, 0);
        notify_send(&n, "READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    notify_init(&n);
    CHECK_EQ_INT(n.len, 0);
}

TEST(a_long_text_is_cut) {
    char name[64], text[3000];
    struct notify n;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    snprintf(name, sizeof name, "@sluice-notify-long-%d", (int)getpid());
    int fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    notify_init(&n);
    notify_send(&n, "%s", text);
    const char *got = receive(fd);
    REQUIRE(got != NULL);
    CHECK_EQ_INT(strlen(got), NOTIFY_BYTES - 1);
    close(fd);
}

CHECK_MAIN()
