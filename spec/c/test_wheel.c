/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_random.h"

#include "../../core/wheel.c"

enum { TIMERS = 200 };

static const uint64_t HORIZON = UINT64_C(1) << (WHEEL_BITS * WHEEL_LEVELS);

/* What the model knows of a timer; `w` and `random` are the running test's. */
static struct timer {
    struct wheel_timer timer;
    bool armed;
    uint64_t due;     /* as it was set */
    uint64_t soonest; /* it must not fire before */
} timers[TIMERS];

static struct wheel w;
static struct check_random r;
static int fired;
static uint64_t until, last_at;

static void set(struct timer *t, uint64_t due) {
    wheel_set(&w, &t->timer, due);
    t->armed = true;
    t->due = due;
    t->soonest = due > w.now_ms ? due : w.now_ms + 1;
}

static void cancel(struct timer *t) {
    wheel_cancel(&t->timer);
    t->armed = false;
}

/* A time that is soon, far, very far, or past. */
static uint64_t any_due(void) {
    uint64_t reach = check_random_next(&r) >> (24 + check_random_below(&r, 40));
    if (check_random_once_in(&r, 6))
        return w.now_ms - reach % (w.now_ms + 1);
    return w.now_ms + reach;
}

static void on_random(struct wheel_timer *timer, uint64_t now_ms) {
    struct timer *t = (struct timer *)(void *)timer;
    fired++;
    CHECK(t->armed);
    CHECK(!wheel_armed(timer));
    CHECK(now_ms >= t->due && now_ms >= t->soonest && now_ms <= until);
    CHECK(now_ms >= last_at); /* time does not run back */
    CHECK_EQ_INT(now_ms, t->soonest);
    last_at = now_ms;
    t->armed = false;
    while (check_random_once_in(&r, 2)) {
        struct timer *other = &timers[check_random_below(&r, TIMERS)];
        if (check_random_once_in(&r, 2))
            cancel(other);
        else
            set(other, any_due());
    }
    if (check_random_once_in(&r, 4))
        set(t, check_random_once_in(&r, 3) ? now_ms : any_due());
}

static void start(uint64_t now_ms, wheel_callback fire) {
    wheel_init(&w, now_ms);
    fired = 0;
    last_at = 0;
    for (int i = 0; i < TIMERS; i++) {
        timers[i].armed = false;
        wheel_timer_init(&timers[i].timer, fire);
    }
}

/* Random timers against the plain list: all that is due has fired, nothing else has, and the wheel is never late. */
TEST(timers_fire_when_they_are_due_and_once) {
    static const uint64_t STARTS[] = {
        0, 1, 63, 64, 4095, UINT64_C(1700000000123), (UINT64_C(1) << 30) - 3, (UINT64_C(1) << 36) - 70};
    for (size_t s = 0; s < sizeof STARTS / sizeof *STARTS; s++) {
        r = check_random_of(s);
        start(STARTS[s], on_random);
        int total = 0;
        for (int i = 0; i < 3000; i++) {
            CHECK_NOTE("start %zu, step %d, now %llu", s, i, (unsigned long long)w.now_ms);
            struct timer *t = &timers[check_random_below(&r, TIMERS)];
            if (check_random_once_in(&r, 4))
                cancel(t);
            else
                set(t, any_due());
            uint64_t first = UINT64_MAX;
            for (int k = 0; k < TIMERS; k++) {
                REQUIRE(timers[k].armed == (bool)wheel_armed(&timers[k].timer));
                if (timers[k].armed && timers[k].soonest < first)
                    first = timers[k].soonest;
            }
            uint64_t next = wheel_next(&w);
            if (first != UINT64_MAX)
                REQUIRE(next > 0 && next <= first - w.now_ms);
            /* Often just to where the wheel asks for it, now and then far, or back. */
            until = check_random_once_in(&r, 3) ? any_due() : w.now_ms + (next == UINT64_MAX ? 1 : next);
            if (until > w.now_ms + HORIZON / 64) /* not a million callbacks at once */
                until = w.now_ms + check_random_below(&r, 100000);
            uint64_t before = w.now_ms;
            wheel_advance(&w, until);
            REQUIRE(w.now_ms == (until > before ? until : before));
            for (int k = 0; k < TIMERS; k++)
                REQUIRE(!timers[k].armed || timers[k].soonest > w.now_ms);
            total += fired;
            fired = 0;
        }
        CHECK(total > 1000);
    }
}

static void on_fire(struct wheel_timer *timer, uint64_t now_ms) {
    struct timer *t = (struct timer *)(void *)timer;
    fired++;
    t->armed = false;
    t->due = now_ms;
}

/* Follows what the wheel asks for. Returns how often it had to be advanced until a timer fired. */
static int follow(void) {
    int steps = 0;
    for (fired = 0; !fired && steps < 1000; steps++) {
        uint64_t next = wheel_next(&w);
        if (next == UINT64_MAX)
            return -1;
        wheel_advance(&w, w.now_ms + next);
    }
    return steps;
}

TEST(who_follows_the_wheel_meets_every_distance_exactly) {
    for (int bit = 0; bit < 38; bit++) {
        for (int around = -1; around <= 1; around++) {
            for (uint64_t begin = 0; begin < 3; begin++) {
                uint64_t now = begin * 1700000000063, distance = (UINT64_C(1) << bit) + (uint64_t)around;
                if (distance == 0)
                    continue;
                start(now, on_fire);
                set(&timers[0], now + distance);
                CHECK_NOTE("%llu after %llu", (unsigned long long)distance, (unsigned long long)now);
                int steps = follow();
                CHECK(steps > 0);
                CHECK(steps <= 8 + (int)(distance / (HORIZON / 2))); /* few awakenings on the way */
                CHECK_EQ_INT(timers[0].due, now + distance);
                CHECK_EQ_INT(wheel_next(&w), -1);
            }
        }
    }
}

TEST(what_lies_in_the_past_fires_with_the_next_advance) {
    start(1000, on_fire);
    set(&timers[0], 0);
    set(&timers[1], 1000);
    set(&timers[2], 999);
    CHECK_EQ_INT(fired, 0);
    CHECK_EQ_INT(wheel_next(&w), 1);
    wheel_advance(&w, 1000);
    CHECK_EQ_INT(fired, 0);
    wheel_advance(&w, 1001);
    CHECK_EQ_INT(fired, 3);
}

TEST(a_time_that_never_comes_is_never_met) {
    start(5, on_fire);
    set(&timers[0], UINT64_MAX);
    for (int i = 0; i < 100; i++)
        wheel_advance(&w, w.now_ms + wheel_next(&w));
    CHECK_EQ_INT(fired, 0);
    CHECK(wheel_armed(&timers[0].timer));
    wheel_advance(&w, w.now_ms + HORIZON * 3);
    CHECK(wheel_armed(&timers[0].timer));
    CHECK_EQ_INT(fired, 0);
    cancel(&timers[0]);
}

TEST(setting_anew_moves_and_cancelling_twice_is_harmless) {
    start(0, on_fire);
    set(&timers[0], 10);
    set(&timers[0], 500);
    wheel_advance(&w, 499);
    CHECK_EQ_INT(fired, 0);
    set(&timers[0], 500);
    wheel_advance(&w, 500);
    CHECK_EQ_INT(fired, 1);
    wheel_cancel(&timers[0].timer);
    set(&timers[0], 600);
    cancel(&timers[0]);
    cancel(&timers[0]);
    wheel_advance(&w, 1000);
    CHECK_EQ_INT(fired, 1);
    CHECK(!wheel_armed(&timers[0].timer));
}

static void cancel_all(struct wheel_timer *timer, uint64_t now_ms) {
    (void)timer, (void)now_ms;
    fired++;
    for (int i = 0; i < TIMERS; i++)
        wheel_cancel(&timers[i].timer);
}

TEST(a_callback_may_cancel_what_is_due_with_it) {
    start(0, cancel_all);
    for (int i = 0; i < TIMERS; i++)
        set(&timers[i], 70);
    wheel_advance(&w, 100);
    CHECK_EQ_INT(fired, 1);
    CHECK_EQ_INT(follow(), -1);
}

static void again(struct wheel_timer *timer, uint64_t now_ms) {
    if (++fired < 1000)
        wheel_set(&w, timer, now_ms); /* at once: a millisecond later */
}

TEST(a_timer_that_sets_itself_at_once_does_not_hold_the_wheel) {
    start(0, again);
    wheel_set(&w, &timers[0].timer, 1);
    wheel_advance(&w, 10);
    CHECK_EQ_INT(fired, 10);
    wheel_cancel(&timers[0].timer);
}

TEST(a_clock_that_steps_back_is_waited_out) {
    start(1000, on_fire);
    set(&timers[0], 1010);
    wheel_advance(&w, 900);
    CHECK_EQ_INT(w.now_ms, 1000);
    CHECK_EQ_INT(wheel_next(&w), 10);
    wheel_advance(&w, 1010);
    CHECK_EQ_INT(fired, 1);
}

CHECK_MAIN()
