/* SPDX-License-Identifier: MIT */
/* The load generator: opens streams, publishes, checks every message, and prints one JSON object per scene: what was done, in which
 * time, at which cost for the server. Exit status 0: all good; 1: something was lost, repeated, out of order or refused, or could
 * not be done; 2: wrong use. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "crowd.h"
#include "measure.h"
#include "publisher.h"
#include "subscriber.h"
#include "target.h"

static const char USAGE[] =
    "usage: load --port PORT --pids PID[,PID...] [options] SCENE...\n"
    "\n"
    "  single:BYTES:SECONDS[:MIN]         one message at a time: the next when all have the last\n"
    "  burst:BYTES:SECONDS[:MIN]          a message as soon as the last is answered, while fewer than 16 are undelivered\n"
    "  paced:BYTES:SECONDS:RATE           RATE messages a second\n"
    "  publish:BYTES:SECONDS:CONNECTIONS  no subscribers; each connection one request at a time\n"
    "  connect:COUNT[:CONCURRENT]         opens streams and closes each when its answer's head is there\n"
    "  replay:BYTES:MESSAGES              publishes 1 + MESSAGES, then all subscribers come with the first one's id\n"
    "  memory                             the server's memory per idle stream, beyond that after 50 were open\n"
    "\n"
    "  --subscribers N   streams of the scenes (1000)      --channels N  spread over so many channels (1)\n"
    "  --addresses N     source addresses (200)            --stuck N     further streams that never read (0)\n"
    "  --token-key KEY   each stream carries a token       --tokens N    so many different ones (1)\n"
    "  --publish-port PORT  messages are published there: on another node of the cluster\n"
    "  --header FIELD    sent with each stream's request   --marked      an on_message script marks each message\n"
    "  --feed            messages are quotes in JSON, of about as many bytes as the scene says\n"
    "  --decode N        of streams in gzip check each Nth to the last byte, and only count what comes on the others (all)\n"
    "  --spin            never sleep, on a core of its own: no server pays for waking the generator\n";

enum { BURST = 16, PACED_WINDOW = 1024, MAX_BYTES = 1 << 20, BASELINE_STREAMS = 50, SETTLE_MS = 1500, AFTERMATH_MS = 100, FEED_SEED = 1 };

struct options {
    struct target target;
    struct measured measured;
    size_t subscribers;
    uint32_t channels;
    size_t stuck;
    const char *token_key;
    size_t tokens;
    bool marked;
    bool feed;
    size_t decode;
};

/* A scene's figures from its command line, after the name. */
struct scene {
    const char *name;
    double value[3];
    int count;
};

/* What one scene has cost. */
struct cost {
    uint64_t cpu_ns;
    uint64_t wall_ns;
};

static int cost_begin(struct cost *cost, const struct measured *m) {
    int rc = measured_cpu_ns(m, &cost->cpu_ns);
    cost->wall_ns = now_ns();
    return rc;
}

static int cost_end(struct cost *cost, const struct measured *m) {
    uint64_t cpu;
    int rc = measured_cpu_ns(m, &cpu);
    cost->cpu_ns = cpu - cost->cpu_ns;
    cost->wall_ns = now_ns() - cost->wall_ns;
    return rc;
}

static void print_cost(const struct cost *cost) {
    printf(",\"seconds\":%.6f,\"cpu_ns\":%llu", (double)cost->wall_ns / 1e9, (unsigned long long)cost->cpu_ns);
}

/* Ends the line. Returns 1 where something was wrong, also with what is known of the scene's end (`rc`). */
static int print_verdict(const struct tally *t, uint64_t missing, int rc) {
    bool failed = rc != 0 || missing || tally_failed(t);
    printf(",\"missing\":%llu,\"skipped\":%llu,\"late\":%llu,\"damaged\":%llu,\"gaps\":%llu,\"ended\":%llu,\"refused\":%llu,\"failed\":%s}\n",
           (unsigned long long)missing, (unsigned long long)t->skipped, (unsigned long long)t->late, (unsigned long long)t->damaged,
           (unsigned long long)t->gaps, (unsigned long long)t->ended, (unsigned long long)t->refused, failed ? "true" : "false");
    fflush(stdout);
    return failed;
}

/* --- fan-out ------------------------------------------------------------------------------------ */

static int fan(const struct options *o, struct crowd *c, const struct scene *scene, struct pace pace) {
    struct cost cost;
    struct tally *t = c->tally;
    uint32_t messages;
    struct pace warm = pace;
    warm.seconds = pace.seconds / 10;
    warm.at_least = pace.window >= BURST ? BURST : 2;
    int rc = crowd_publish(c, &warm, &messages);
    uint64_t before = t->received, wire = t->wire;
    histogram_clear(&t->latency);
    rc = rc ? rc : cost_begin(&cost, &o->measured);
    rc = rc ? rc : crowd_publish(c, &pace, &messages);
    if (rc)
        cost = (struct cost){0};
    else
        rc = cost_end(&cost, &o->measured);
    wire = t->wire - wire;
    uint64_t events = t->received - before, wanted = 0;
    for (uint32_t i = 0; i < c->channels; i++)
        wanted += (uint64_t)c->seq[i] * (c->count / c->channels + (i < c->count % c->channels));
    printf("{\"scene\":\"%s\",\"bytes\":%zu,\"subscribers\":%zu,\"channels\":%u,\"stuck\":%zu,\"messages\":%u,\"events\":%llu", scene->name,
           pace.bytes, c->count, c->channels, c->stuck_count, messages, (unsigned long long)events);
    print_cost(&cost);
    printf(",\"wire_bytes\":%llu", (unsigned long long)wire);
    printf(",\"p50_ns\":%llu,\"p99_ns\":%llu,\"max_ns\":%llu", (unsigned long long)histogram_quantile(&t->latency, 0.5),
           (unsigned long long)histogram_quantile(&t->latency, 0.99), (unsigned long long)t->latency.max);
    return print_verdict(t, wanted - t->received, rc);
}

/* Opens the streams before the first scene that needs them. */
static int gather(const struct options *o, struct crowd *c) {
    if (c->count)
        return 0;
    c->tally->marked = o->marked;
    int rc = crowd_open(c, o->subscribers, NULL);
    rc = rc || o->stuck == 0 ? rc : crowd_open_stuck(c, o->stuck);
    return rc ? rc : crowd_idle(c, AFTERMATH_MS);
}

/* --- publish only ------------------------------------------------------------------------------- */

/* Keeps each connection busy until `end`, then takes the last answers. */
static int publish_until(const struct target *target, struct publisher *all, size_t count, int epoll_fd, uint32_t channels, size_t bytes,
                         uint64_t end, uint32_t *messages) {
    struct epoll_event events[64];
    size_t waiting = 0;
    int rc = 0;
    *messages = 0;
    for (size_t i = 0; rc == 0 && i < count; i++, waiting++) {
        struct payload payload = {.channel = (uint32_t)i % channels};
        rc = publisher_send(&all[i], &payload, bytes, NULL);
    }
    while (rc == 0 && waiting > 0) {
        int n = target_wait(target, epoll_fd, events, 64, 10000);
        if (n <= 0)
            return n == 0 ? -ETIMEDOUT : -errno;
        bool more = now_ns() < end;
        for (int i = 0; i < n && rc >= 0; i++) {
            struct publisher *p = &all[events[i].data.u32];
            rc = publisher_poll(p);
            if (rc <= 0)
                continue;
            ++*messages;
            rc = 0;
            struct payload payload = {.number = *messages, .channel = events[i].data.u32 % channels};
            if (more)
                rc = publisher_send(p, &payload, bytes, NULL);
            else
                waiting--;
        }
    }
    return rc;
}

static int publish_only(const struct options *o, const struct scene *scene) {
    size_t bytes = (size_t)scene->value[0], count = (size_t)scene->value[2];
    struct publisher *all = calloc(count, sizeof *all);
    struct tally *t = calloc(1, sizeof *t);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct cost cost = {0};
    uint32_t messages = 0;
    int rc = all && t && epoll_fd >= 0 ? 0 : -ENOMEM;
    size_t made = 0;
    while (rc == 0 && made < count) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)made};
        rc = publisher_init(&all[made], &o->target, made, bytes);
        if (rc == 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[made].fd, &event) != 0)
            rc = -errno;
        made++;
    }
    uint64_t span = (uint64_t)(scene->value[1] * 1e9);
    rc = rc ? rc : publish_until(&o->target, all, count, epoll_fd, o->channels, bytes, now_ns() + span / 10, &messages);
    rc = rc ? rc : cost_begin(&cost, &o->measured);
    rc = rc ? rc : publish_until(&o->target, all, count, epoll_fd, o->channels, bytes, now_ns() + span, &messages);
    rc = rc ? rc : cost_end(&cost, &o->measured);
    if (rc)
        fprintf(stderr, "load: publish: %s\n", strerror(-rc));
    while (made > 0)
        publisher_deinit(&all[--made]);
    free(all);
    if (epoll_fd >= 0)
        close(epoll_fd);
    if (!t)
        return 1;
    printf("{\"scene\":\"publish\",\"bytes\":%zu,\"connections\":%zu,\"channels\":%u,\"messages\":%u", bytes, count, o->channels, messages);
    print_cost(&cost);
    int failed = print_verdict(t, 0, rc);
    free(t);
    return failed;
}

/* --- connect only ------------------------------------------------------------------------------- */

struct slots {
    struct subscriber *all;
    size_t count;
    int epoll_fd;
    size_t begun; /* streams over all slots */
};

static int slot_open(struct slots *s, const struct options *o, size_t slot) {
    struct subscriber *one = &s->all[slot];
    *one = (struct subscriber){0};
    int rc = subscriber_open(one, &o->target, s->begun, (uint32_t)(s->begun % o->channels), 0, NULL);
    s->begun++;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)slot};
    if (rc == 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, one->fd, &event) != 0)
        rc = -errno;
    return rc;
}

/* Opens and closes `count` streams, at most one a slot at a time. */
static int slots_run(struct slots *s, struct tally *t, const struct options *o, size_t count) {
    struct epoll_event events[64];
    size_t last = s->begun + count, open = 0;
    int rc = 0;
    for (; rc == 0 && open < s->count && s->begun < last; open++)
        rc = slot_open(s, o, open);
    while (rc == 0 && open > 0) {
        int n = target_wait(&o->target, s->epoll_fd, events, 64, 10000);
        if (n <= 0)
            return n == 0 ? -ETIMEDOUT : -errno;
        for (int i = 0; i < n && rc == 0; i++) {
            struct subscriber *one = &s->all[events[i].data.u32];
            if (subscriber_read(one, t, false) && one->state != SUBSCRIBER_OPEN)
                continue;
            subscriber_close(one);
            if (s->begun < last)
                rc = slot_open(s, o, events[i].data.u32);
            else
                open--;
        }
    }
    return rc;
}

static int connect_only(const struct options *o, const struct scene *scene) {
    size_t count = (size_t)scene->value[0];
    struct slots slots = {.count = scene->count > 1 ? (size_t)scene->value[1] : 64, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct tally *t = calloc(1, sizeof *t);
    struct cost cost = {0};
    slots.all = calloc(slots.count, sizeof *slots.all);
    int rc = t && slots.all && slots.epoll_fd >= 0 ? 0 : -ENOMEM;
    rc = rc ? rc : slots_run(&slots, t, o, count / 10);
    usleep(AFTERMATH_MS * 1000);
    if (t)
        t->opened = 0;
    rc = rc ? rc : cost_begin(&cost, &o->measured);
    rc = rc ? rc : slots_run(&slots, t, o, count);
    uint64_t wall = now_ns() - cost.wall_ns;
    usleep(AFTERMATH_MS * 1000); /* the last ends are part of it; an idle server's time counts nothing */
    rc = rc ? rc : cost_end(&cost, &o->measured);
    cost.wall_ns = wall;
    if (rc)
        fprintf(stderr, "load: connect: %s\n", strerror(-rc));
    for (size_t i = 0; slots.all && i < slots.count; i++)
        subscriber_close(&slots.all[i]);
    free(slots.all);
    if (slots.epoll_fd >= 0)
        close(slots.epoll_fd);
    if (!t)
        return 1;
    printf("{\"scene\":\"connect\",\"streams\":%zu,\"concurrent\":%zu,\"tokens\":%zu", count, slots.count, o->target.token_count);
    print_cost(&cost);
    int failed = print_verdict(t, count - t->opened, rc);
    free(t);
    return failed;
}

/* --- replay ------------------------------------------------------------------------------------- */

static int replay(const struct options *o, struct crowd *c, const struct scene *scene) {
    size_t bytes = (size_t)scene->value[0];
    uint32_t wanted = (uint32_t)scene->value[1], messages = 0;
    struct pace pace = {.window = BURST, .at_least = wanted + 1, .bytes = bytes};
    struct cost cost = {0};
    struct tally *t = c->tally;
    char id[SUBSCRIBER_ID] = "";
    if (o->channels != 1) {
        fprintf(stderr, "load: replay is of one channel\n");
        return 1;
    }
    int rc = crowd_open(c, 1, NULL);
    rc = rc ? rc : crowd_idle(c, AFTERMATH_MS);
    rc = rc ? rc : crowd_publish(c, &pace, &messages);
    memcpy(id, c->first_id, sizeof id);
    crowd_close(c);
    rc = rc ? rc : crowd_idle(c, AFTERMATH_MS);
    t->received = 0;
    histogram_clear(&t->latency);
    uint64_t events = (uint64_t)wanted * o->subscribers, wire = t->wire;
    rc = rc ? rc : cost_begin(&cost, &o->measured);
    rc = rc ? rc : crowd_open(c, o->subscribers, id);
    rc = rc ? rc : crowd_wait_received(c, events);
    rc = rc ? rc : cost_end(&cost, &o->measured);
    rc = rc ? rc : crowd_idle(c, AFTERMATH_MS); /* what comes twice comes now */
    wire = t->wire - wire;
    printf("{\"scene\":\"replay\",\"bytes\":%zu,\"subscribers\":%zu,\"messages\":%u,\"events\":%llu", bytes, o->subscribers, wanted,
           (unsigned long long)t->received);
    print_cost(&cost);
    printf(",\"wire_bytes\":%llu", (unsigned long long)wire);
    return print_verdict(t, t->received < events ? events - t->received : 0, rc);
}

/* --- memory ------------------------------------------------------------------------------------- */

static int memory(const struct options *o, struct crowd *c) {
    uint64_t before = 0, after = 0;
    int rc = crowd_open(c, BASELINE_STREAMS, NULL);
    rc = rc ? rc : crowd_idle(c, AFTERMATH_MS);
    crowd_close(c);
    rc = rc ? rc : crowd_idle(c, SETTLE_MS);
    rc = rc ? rc : measured_pss(&o->measured, &before);
    rc = rc ? rc : crowd_open(c, o->subscribers, NULL);
    rc = rc ? rc : crowd_idle(c, SETTLE_MS);
    rc = rc ? rc : measured_pss(&o->measured, &after);
    printf("{\"scene\":\"memory\",\"subscribers\":%zu,\"addresses\":%u,\"tokens\":%zu,\"baseline_bytes\":%llu,\"pss_bytes\":%llu",
           o->subscribers, o->target.addresses, o->target.token_count, (unsigned long long)before, (unsigned long long)after);
    return print_verdict(c->tally, 0, rc);
}

/* --- the command -------------------------------------------------------------------------------- */

static void wrong_use(const char *what, const char *value) {
    fprintf(stderr, "load: %s %s\n%s", what, value, USAGE);
    exit(2);
}

static double number(const char *name, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || value < 0)
        wrong_use(name, text);
    return value;
}

/* Reads "name:number:number". The name is cut off in place. */
static struct scene parse_scene(char *text) {
    struct scene scene = {.name = strtok(text, ":")};
    char *part;
    while ((part = strtok(NULL, ":"))) {
        if (scene.count == 3)
            wrong_use("too many figures in", scene.name);
        scene.value[scene.count++] = number("a scene has numbers, not", part);
    }
    return scene;
}

static bool is(const struct scene *scene, const char *name, int least, int most) {
    if (!scene->name || strcmp(scene->name, name) != 0)
        return false;
    bool sized = strcmp(name, "connect") != 0 && most > 0;
    if (scene->count < least || scene->count > most)
        wrong_use("the wrong number of figures for", name);
    if (sized && (scene->value[0] < PAYLOAD_MIN || scene->value[0] > MAX_BYTES))
        wrong_use("messages have 58 bytes to 1 MiB, in", name);
    return true;
}

static int run_fan(const struct options *o, struct crowd *c, const struct scene *scene, struct pace pace) {
    pace.bytes = (size_t)scene->value[0];
    pace.seconds = scene->value[1];
    return gather(o, c) ? 1 : fan(o, c, scene, pace);
}

static int run_in_crowd(const struct options *o, struct crowd *c, const struct scene *scene) {
    uint32_t at_least = scene->count > 2 ? (uint32_t)scene->value[2] : 0;
    if (is(scene, "single", 2, 3))
        return run_fan(o, c, scene, (struct pace){.window = 1, .at_least = at_least ? at_least : 3});
    if (is(scene, "burst", 2, 3))
        return run_fan(o, c, scene, (struct pace){.window = BURST, .at_least = at_least ? at_least : 2 * BURST});
    if (is(scene, "paced", 3, 3))
        return run_fan(o, c, scene, (struct pace){.window = PACED_WINDOW, .per_second = scene->value[2]});
    if (is(scene, "replay", 2, 2))
        return replay(o, c, scene);
    if (is(scene, "memory", 0, 0))
        return memory(o, c);
    wrong_use("unknown scene", scene->name ? scene->name : "");
    return 1;
}

static void raise_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void parse_options(struct options *o, int argc, char **argv) {
    enum { PORT, PIDS, SUBSCRIBERS, CHANNELS, ADDRESSES, STUCK, TOKEN_KEY, TOKENS, HEADER, MARKED, FEED, DECODE, SPIN, PUBLISH_PORT };
    static const struct option OPTIONS[] = {
        {"port", required_argument, NULL, PORT},           {"pids", required_argument, NULL, PIDS},
        {"subscribers", required_argument, NULL, SUBSCRIBERS}, {"channels", required_argument, NULL, CHANNELS},
        {"addresses", required_argument, NULL, ADDRESSES}, {"stuck", required_argument, NULL, STUCK},
        {"token-key", required_argument, NULL, TOKEN_KEY}, {"tokens", required_argument, NULL, TOKENS},
        {"header", required_argument, NULL, HEADER},       {"marked", no_argument, NULL, MARKED},
        {"feed", no_argument, NULL, FEED},                 {"decode", required_argument, NULL, DECODE},
        {"spin", no_argument, NULL, SPIN},                 {"publish-port", required_argument, NULL, PUBLISH_PORT},
        {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (option) {
        case PORT: o->target.port = (uint16_t)number("--port", optarg); break;
        case PIDS:
            if (measured_parse(&o->measured, optarg) != 0)
                wrong_use("--pids", optarg);
            break;
        case SUBSCRIBERS: o->subscribers = (size_t)number("--subscribers", optarg); break;
        case CHANNELS: o->channels = (uint32_t)number("--channels", optarg); break;
        case ADDRESSES: o->target.addresses = (uint32_t)number("--addresses", optarg); break;
        case STUCK: o->stuck = (size_t)number("--stuck", optarg); break;
        case TOKEN_KEY: o->token_key = optarg; break;
        case TOKENS: o->tokens = (size_t)number("--tokens", optarg); break;
        case HEADER: o->target.header = optarg; break;
        case MARKED: o->marked = true; break;
        case FEED: o->feed = true; break;
        case DECODE: o->decode = (size_t)number("--decode", optarg); break;
        case SPIN: o->target.spin = true; break;
        case PUBLISH_PORT: o->target.publish_port = (uint16_t)number("--publish-port", optarg); break;
        default: wrong_use("unknown option", "");
        }
    }
    if (!o->target.port || !o->measured.count || optind == argc)
        wrong_use("missing:", "--port, --pids or a scene");
    if (!o->subscribers || !o->channels || !o->target.addresses || !o->tokens)
        wrong_use("zero for", "--subscribers, --channels, --addresses or --tokens");
    if (o->decode && (!o->feed || o->channels != 1))
        wrong_use("--decode is for a", "--feed of one channel");
}

int main(int argc, char **argv) {
    struct options o = {.target.addresses = 200, .subscribers = 1000, .channels = 1, .tokens = 1};
    struct crowd crowd;
    struct feed feed;
    parse_options(&o, argc, argv);
    raise_files();
    if (o.token_key && target_make_tokens(&o.target, o.token_key, o.tokens) != 0) {
        fprintf(stderr, "load: not enough memory for the tokens\n");
        return 1;
    }
    int failed = crowd_init(&crowd, &o.target, o.channels, MAX_BYTES) != 0;
    crowd.decode = o.decode;
    if (o.feed && !failed) {
        feed_init(&feed, FEED_SEED);
        crowd.publisher.feed = &feed;
        crowd.tally->feed = true;
    }
    for (int i = optind; i < argc && !failed; i++) {
        struct scene scene = parse_scene(argv[i]);
        if (is(&scene, "publish", 3, 3))
            failed = publish_only(&o, &scene);
        else if (is(&scene, "connect", 1, 2))
            failed = connect_only(&o, &scene);
        else
            failed = run_in_crowd(&o, &crowd, &scene);
    }
    crowd_deinit(&crowd);
    target_deinit(&o.target);
    return failed;
}
