/* SPDX-License-Identifier: MIT */
#include "sse.h"

#include <errno.h>

static const char DATA[] = "data: ";
enum { DATA_LEN = sizeof DATA - 1 };

static const char BYTE_ORDER_MARK[] = "\xEF\xBB\xBF";
enum { BYTE_ORDER_MARK_LEN = sizeof BYTE_ORDER_MARK - 1 };

/* --- lines -------------------------------------------------------------------------------------- */

/* Finds line ends. CR and LF are looked for apart, each with memchr, and what was found is kept until it is passed: so text without
 * one of them is searched for it once and not once a line. */
struct lines {
    const char *at;
    const char *end;
    const char *cr; /* the next one not before `at`, `end` where there is none; NULL: not looked for yet */
    const char *lf;
};

static struct lines lines_of(const char *ptr, size_t len) {
    return (struct lines){.at = ptr, .end = ptr + len};
}

static const char *find(const struct lines *l, char c, const char *known) {
    if (known && known >= l->at)
        return known;
    const char *found = l->at < l->end ? memchr(l->at, c, (size_t)(l->end - l->at)) : NULL;
    return found ? found : l->end;
}

/* The next CR or LF, `end` where there is none. */
static const char *lines_next_end(struct lines *l) {
    l->cr = find(l, '\r', l->cr);
    l->lf = find(l, '\n', l->lf);
    return l->cr < l->lf ? l->cr : l->lf;
}

/* What follows the line end at `end`, which is before the text's: CRLF is one. */
static const char *after_end(const struct lines *l, const char *end) {
    bool crlf = *end == '\r' && end + 1 < l->end && end[1] == '\n';
    return end + (crlf ? 2 : 1);
}

/* Takes the next line, without its end, and moves behind the end. Text has one line more than it has line ends. Returns false behind the last. */
static bool lines_next(struct lines *l, struct slice *line) {
    if (!l->at)
        return false;
    const char *end = lines_next_end(l);
    *line = slice_make(l->at, (size_t)(end - l->at));
    if (end == l->end)
        l->at = NULL;
    else
        l->at = after_end(l, end);
    return true;
}

/* --- writing ------------------------------------------------------------------------------------ */

bool sse_field_valid(struct slice s) {
    return s.len == 0 || (!memchr(s.ptr, '\n', s.len) && !memchr(s.ptr, '\r', s.len) && !memchr(s.ptr, '\0', s.len));
}

size_t sse_data_size(struct slice data) {
    struct lines lines = lines_of(data.len ? data.ptr : "", data.len);
    struct slice line;
    size_t size = 0;
    while (lines_next(&lines, &line))
        size += DATA_LEN + line.len + 1;
    return size;
}

size_t sse_write_data(char *out, struct slice data) {
    struct lines lines = lines_of(data.len ? data.ptr : "", data.len);
    struct slice line;
    char *to = out;
    while (lines_next(&lines, &line)) {
        memcpy(to, DATA, DATA_LEN);
        to += DATA_LEN;
        memcpy(to, line.ptr, line.len);
        to += line.len;
        *to++ = '\n';
    }
    return (size_t)(to - out);
}

int sse_read_data(struct slice lines, struct buf *out) {
    if (lines.len == 0)
        return 0;
    int rc = buf_reserve(out, lines.len);
    if (rc)
        return rc;
    const char *at = lines.ptr, *end = lines.ptr + lines.len;
    for (bool first = true; at < end; first = false) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        struct slice line = slice_make(at, (size_t)((lf ? lf : end) - at));
        at = lf ? lf + 1 : end;
        if (!first)
            out->data[out->len++] = '\n';
        if (line.len > DATA_LEN) {
            memcpy(out->data + out->len, line.ptr + DATA_LEN, line.len - DATA_LEN);
            out->len += line.len - DATA_LEN;
        }
    }
    return 0;
}

static int append_field(struct buf *out, const char *name, struct slice value) {
    if (!value.ptr)
        return 0;
    int rc = buf_append_text(out, name);
    rc = rc ? rc : buf_append_slice(out, value);
    return rc ? rc : buf_append_char(out, '\n');
}

int sse_append_event(struct buf *out, struct slice id, struct slice event, struct slice data) {
    if (!sse_field_valid(id) || !sse_field_valid(event))
        return -EINVAL;
    size_t before = out->len, size = sse_data_size(data);
    int rc = append_field(out, "id: ", id);
    rc = rc ? rc : append_field(out, "event: ", event);
    rc = rc ? rc : buf_reserve(out, size + 1);
    if (rc) {
        out->len = before;
        return rc;
    }
    out->len += sse_write_data(out->data + out->len, data);
    out->data[out->len++] = '\n';
    return 0;
}

int sse_append_comment(struct buf *out, struct slice text) {
    size_t before = out->len;
    struct lines lines = lines_of(text.len ? text.ptr : "", text.len);
    struct slice line;
    int rc = 0;
    while (!rc && lines_next(&lines, &line)) {
        rc = buf_append_char(out, ':');
        rc = rc ? rc : buf_append_slice(out, line);
        rc = rc ? rc : buf_append_char(out, '\n');
    }
    if (rc)
        out->len = before;
    return rc;
}

/* --- reading ------------------------------------------------------------------------------------ */

void sse_parser_init(struct sse_parser *p, const struct sse_events *events, size_t limit) {
    *p = (struct sse_parser){.events = *events, .limit = limit};
}

void sse_parser_deinit(struct sse_parser *p) {
    buf_deinit(&p->line);
    buf_deinit(&p->data);
    buf_deinit(&p->type);
    buf_deinit(&p->last_id);
    buf_deinit(&p->pending_id);
}

static int replace(struct buf *b, struct slice value) {
    buf_clear(b);
    return buf_append_slice(b, value);
}

/* At a blank line (HTML, 9.2.6, "dispatch the event"). The id counts even where there is no data to dispatch. */
static int dispatch(struct sse_parser *p) {
    int rc = replace(&p->last_id, buf_slice(&p->pending_id));
    if (rc)
        return rc;
    if (p->has_data) {
        struct slice type = p->type.len ? buf_slice(&p->type) : slice_of("message");
        p->events.event(p->events.context, buf_slice(&p->last_id), type, buf_slice(&p->data));
    }
    buf_clear(&p->data);
    buf_clear(&p->type);
    p->has_data = false;
    return 0;
}

/* The line ends of data stand between its lines only: the one that would be removed at dispatch is never put. */
static int append_data(struct sse_parser *p, struct slice value) {
    if (value.len + p->has_data > p->limit - p->data.len)
        return -EMSGSIZE;
    int rc = buf_reserve(&p->data, value.len + 1);
    if (rc)
        return rc;
    if (p->has_data)
        p->data.data[p->data.len++] = '\n';
    p->has_data = true;
    return buf_append_slice(&p->data, value);
}

/* A value that is not of digits only is ignored; one that is too large counts as the largest. */
static void read_retry(const struct sse_parser *p, struct slice value) {
    if (value.len == 0 || !p->events.retry)
        return;
    uint64_t ms = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)((unsigned char)value.ptr[i] - '0');
        if (digit > 9)
            return;
        ms = ms > (UINT64_MAX - digit) / 10 ? UINT64_MAX : ms * 10 + digit;
    }
    p->events.retry(p->events.context, ms);
}

static int process_field(struct sse_parser *p, struct slice name, struct slice value) {
    if (slice_is(name, "data"))
        return append_data(p, value);
    if (slice_is(name, "event"))
        return replace(&p->type, value);
    if (slice_is(name, "id"))
        return value.len && memchr(value.ptr, '\0', value.len) ? 0 : replace(&p->pending_id, value);
    if (slice_is(name, "retry"))
        read_retry(p, value);
    return 0;
}

static int process_line(struct sse_parser *p, struct slice line) {
    if (line.len > p->limit)
        return -EMSGSIZE;
    if (line.len == 0)
        return dispatch(p);
    const char *colon = memchr(line.ptr, ':', line.len);
    if (!colon)
        return process_field(p, line, slice_make("", 0));
    struct slice name = slice_make(line.ptr, (size_t)(colon - line.ptr));
    struct slice value = slice_make(colon + 1, line.len - name.len - 1);
    if (name.len == 0) {
        if (p->events.comment)
            p->events.comment(p->events.context, value);
        return 0;
    }
    if (value.len && value.ptr[0] == ' ')
        value = slice_make(value.ptr + 1, value.len - 1);
    return process_field(p, name, value);
}

/* Drops a byte order mark before the first line. It may come in pieces: what could still become one waits in `line`, where it belongs if it becomes none. */
static int skip_byte_order_mark(struct sse_parser *p, struct slice *input) {
    while (!p->started && input->len) {
        if (input->ptr[0] != BYTE_ORDER_MARK[p->line.len]) {
            p->started = true;
            break;
        }
        int rc = buf_append_char(&p->line, input->ptr[0]);
        if (rc)
            return rc;
        *input = slice_make(input->ptr + 1, input->len - 1);
        if (p->line.len == BYTE_ORDER_MARK_LEN) {
            buf_clear(&p->line);
            p->started = true;
        }
    }
    return 0;
}

int sse_parser_feed(struct sse_parser *p, const char *data, size_t len) {
    struct slice input = slice_make(data, len);
    int rc = skip_byte_order_mark(p, &input);
    if (rc || input.len == 0)
        return rc;
    if (p->skip_lf && input.ptr[0] == '\n')
        input = slice_make(input.ptr + 1, input.len - 1);
    p->skip_lf = false;

    struct lines lines = lines_of(input.ptr, input.len);
    while (lines.at < lines.end) {
        const char *end = lines_next_end(&lines);
        struct slice line = slice_make(lines.at, (size_t)(end - lines.at));
        bool complete = end < lines.end;
        if (!complete || p->line.len) {
            if (line.len > p->limit || p->line.len > p->limit - line.len)
                return -EMSGSIZE;
            rc = buf_append_slice(&p->line, line);
            if (rc || !complete)
                return rc;
            line = buf_slice(&p->line);
        }
        rc = process_line(p, line);
        if (rc)
            return rc;
        buf_clear(&p->line);
        lines.at = after_end(&lines, end);
        p->skip_lf = *end == '\r' && end + 1 == lines.end;
    }
    return 0;
}
