-- SPDX-License-Identifier: MIT
-- Every configuration key, as data: error messages, `--help`, the sample file and doc/configuration.md come from
-- these rows.
--
-- A row has
--   key          dotted name
--   type         one of the kinds of sluice.config.kinds
--   default      the value where nothing is set; nil: unset
--   default_text what documents say in its place, where the default is found at run time
--   min, max     the range of a number, both ends included; unit: "s", "ms" or "bytes"
--   values       the words of an enum
--   item         the row of a list's items; unique, min_items: rules of the list
--   env          the environment variable that sets it
--   secret       its value is never shown
--   description  one sentence or two; example: a value for the sample file where the default says nothing

local KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
local YEAR = 365 * 86400

local schema = {
  {
    key = "listen", type = "address", default = "127.0.0.1:8080", env = "PORT",
    description = "Where to listen: `host:port`, IPv6 in brackets (`[::1]:8080`). Port 0 takes a free one. "
      .. "`PORT` sets only the port.",
  },
  {
    key = "workers", type = "integer", min = 1, max = 256, default_text = "number of cores",
    description = "Threads that serve connections.", example = 2,
  },
  {
    key = "scripts", type = "folder", default_text = "the default policy", example = "scripts",
    description = "Folder of policy scripts. It replaces the default policy whole.",
  },
  {
    key = "insecure", type = "boolean", default = false,
    description = "Allows to listen beyond loopback without a key: anyone may then subscribe and publish.",
  },
  {
    key = "admin", type = "boolean", default = true,
    description = "Whether the routes below `/_sluice/` are there: with a key for administrators' tokens, without one for clients on the "
      .. "same machine.",
  },
  {
    key = "drain", type = "number", min = 0, max = 3600, unit = "s", default = 10,
    description = "Time over which streams are ended when the server stops.",
  },
  {
    key = "trust_proxy", type = "list", item = { type = "network" }, unique = true, default = {}, example = { "10.0.0.1" },
    description = "Addresses of proxies whose `X-Forwarded-For` counts, or ranges of them.",
  },
  {
    key = "channels", type = "channels", default = {},
    example = { ["quotes.*"] = { slow = "conflate", messages = 100 } },
    description = "Rules by channel: a name, or a prefix with `*` at its end, to a table of `slow`, `messages`, `bytes` "
      .. "and `age`. The longest that matches a channel wins.",
  },

  {
    key = "jwt.key", type = "secret", secret = true, env = "JWT_SECRET", example = "change me",
    description = "The key that tokens are verified with: a shared secret, or a public key as PEM text.",
  },
  {
    key = "jwt.key_file", type = "file", example = "jwt.pem",
    description = "A file to read that key from instead. A line end at its end does not count.",
  },
  {
    key = "jwt.algorithms", type = "list", unique = true, min_items = 1, default = { "HS256" },
    item = {
      type = "enum",
      values = { "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512" },
    },
    description = "The algorithms a token may be signed with. All must fit the key: `HS*` a shared secret, `RS*` an "
      .. "RSA key, one `ES*` the key on its own curve.",
  },
  {
    key = "jwt.leeway", type = "number", min = 0, max = 86400, unit = "s", default = 0,
    description = "How far clocks may differ when `exp` and `nbf` are checked.",
  },
  {
    key = "jwt.issuer", type = "string", example = "https://login.example",
    description = "What a token's `iss` must be.",
  },
  {
    key = "jwt.audience", type = "string", example = "sluice",
    description = "What a token's `aud` must be, or contain.",
  },
  {
    key = "jwt.cookie", type = "name", example = "token",
    description = "Name of a cookie that may carry the token.",
  },

  {
    key = "cors.origins", type = "list", item = { type = "origin" }, unique = true, default = {},
    env = "ALLOWED_ORIGINS", example = { "https://app.example" },
    description = "Origins whose pages may use the server: exact ones, `https://*.app.example` for all names below one, "
      .. "or `*` for all.",
  },
  {
    key = "cors.credentials", type = "boolean", default = false,
    description = "Whether those pages may send cookies.",
  },

  {
    key = "ratelimit.window", type = "number", min = 0.001, max = YEAR, unit = "s", default = 900,
    description = "The window in which new streams are counted.",
  },
  {
    key = "ratelimit.max", type = "integer", min = 1, max = 1000000000, default = 600,
    description = "New streams per address and window.",
  },
  {
    key = "ratelimit.concurrent", type = "integer", min = 1, max = 1000000000, default = 100,
    description = "Open streams per address.",
  },
  {
    key = "ratelimit.message", type = "string", default = "too many streams from this address, try again later",
    description = "The error that a client over these limits is told.",
  },
  {
    key = "ratelimit.shared", type = "boolean", default = false,
    description = "Whether limits count over all nodes of a cluster, those of `sluice.limit` in scripts too. Needs "
      .. "`redis.url`.",
  },

  {
    key = "limits.connections", type = "integer", min = 1, max = 10000000, default = 10000,
    description = "TCP connections over all workers.",
  },
  {
    key = "limits.busy", type = "enum", values = { "refuse", "retry" }, default = "refuse",
    description = "What a new stream gets when there are that many: 503 (`refuse`), or an empty stream that tells "
      .. "EventSource to come back (`retry`).",
  },
  {
    key = "limits.header_bytes", type = "integer", min = 64, max = MIB, unit = "bytes", default = 16 * KIB,
    description = "Size of a request's line and header.",
  },
  {
    key = "limits.body_bytes", type = "integer", min = 0, max = GIB, unit = "bytes", default = MIB,
    description = "Size of a request's body.",
  },
  {
    key = "limits.header_timeout", type = "number", min = 0.01, max = 3600, unit = "s", default = 10,
    description = "Time for a request to arrive.",
  },
  {
    key = "limits.idle_timeout", type = "number", min = 0.01, max = 86400, unit = "s", default = 60,
    description = "Time a connection may wait for its next request.",
  },
  {
    key = "limits.queue_bytes", type = "integer", min = 1, max = GIB, unit = "bytes", default = MIB,
    description = "What may wait to be sent to one stream before it counts as slow.",
  },
  {
    key = "limits.channels_per_stream", type = "integer", min = 1, max = 65535, default = 100,
    description = "Channels one stream may subscribe to; more are answered with 400.",
  },
  {
    key = "limits.script_ms", type = "integer", min = 1, max = 60000, unit = "ms", default = 100,
    description = "CPU time a hook or handler may use before it gives way.",
  },
  {
    key = "limits.script_bytes", type = "integer", min = MIB, max = 64 * GIB, unit = "bytes", default = 256 * MIB,
    description = "Memory that scripts may hold, per worker.",
  },
  {
    key = "limits.script_call_bytes", type = "integer", min = 64 * KIB, max = 64 * GIB, unit = "bytes",
    default = 32 * MIB,
    description = "Memory by which one call of a script may grow.",
  },

  {
    key = "history.messages", type = "integer", min = 0, max = 10000000, default = 1000,
    description = "Messages kept per channel for replay; 0 keeps none.",
  },
  {
    key = "history.bytes", type = "integer", min = 0, max = TIB, unit = "bytes", default = 4 * MIB,
    description = "Bytes kept per channel; 0 keeps none.",
  },
  {
    key = "history.age", type = "number", min = 0, max = YEAR, unit = "s", default = 300,
    description = "How long a message is kept; 0 keeps none.",
  },
  {
    key = "history.total_bytes", type = "integer", min = 0, max = TIB, unit = "bytes", default = 256 * MIB,
    description = "Bytes kept over all channels.",
  },

  {
    key = "stream.opening", type = "boolean", default = true,
    description = "Whether a stream opens with its `sluice.open` event.",
  },
  {
    key = "stream.heartbeat", type = "number", min = 0.01, max = 86400, unit = "s", default = 15,
    description = "Silence after which a stream gets a comment.",
  },
  {
    key = "stream.retry", type = "integer", min = 1, max = 3600000, unit = "ms", default = 2000,
    description = "Reconnection time told to clients; each gets 1 to 2 times this.",
  },
  {
    key = "stream.stale", type = "number", min = 0.01, max = 86400, unit = "s", default = 300,
    description = "A client that acknowledges nothing for so long, while bytes wait, is cut off.",
  },

  {
    key = "compression.gzip", type = "boolean", default = true,
    description = "Whether streams are compressed for clients that accept gzip.",
  },
  {
    key = "compression.level", type = "integer", min = 1, max = 9, default = 6,
    description = "1 is fastest, 9 smallest.",
  },
  {
    key = "compression.min_bytes", type = "integer", min = 0, max = GIB, unit = "bytes", default = 256,
    description = "Messages below this size are compressed only together with others, not by themselves.",
  },

  {
    key = "redis.url", type = "redis_url", secret = true, env = "REDIS_URL", example = "redis://127.0.0.1:6379/0",
    description = "The Redis server that joins nodes to a cluster: `redis://[user:password@]host[:port][/database]`, "
      .. "or `rediss://` for TLS.",
  },
  {
    key = "redis.user", type = "string", env = "REDIS_USER", example = "sluice",
    description = "The user to log in as where `redis.url` names none.",
  },
  {
    key = "redis.password", type = "secret", secret = true, env = "REDIS_PASSWORD", example = "change me",
    description = "The password to log in with where `redis.url` has none.",
  },
  {
    key = "redis.ca_file", type = "file", env = "REDIS_CA_FILE", example = "redis-ca.pem",
    description = "For `rediss://`: a file (PEM) with the authorities one of which must have signed Redis' certificate, "
      .. "in the place of the system's.",
  },
  {
    key = "redis.cert_file", type = "file", env = "REDIS_CERT_FILE", example = "redis-client.pem",
    description = "For `rediss://`, where Redis asks for one: a file (PEM) with the server's own certificate, those between "
      .. "it and its authority, and its private key.",
  },
  {
    key = "redis.key", type = "string", default = "sluice:log",
    description = "Key of the Redis stream that holds the log.",
  },
  {
    key = "redis.maxlen", type = "integer", min = 1, max = TIB, default = 100000,
    description = "Messages kept in it; from 1000 on Redis keeps up to 100 more, which costs it less.",
  },

  {
    key = "log.level", type = "enum", values = { "debug", "info", "warn", "error" }, default = "info",
    description = "The least severe records that are written.",
  },
  {
    key = "log.format", type = "enum", values = { "text", "json" }, default = "text",
    description = "Text for people, or one JSON object a line.",
  },
  {
    key = "log.access", type = "boolean", default = false,
    description = "Whether each request is logged, and each stream when it opens and when it ends.",
  },
  {
    key = "log.frames", type = "boolean", default = false,
    description = "Whether each frame that is sent is logged.",
  },
}

-- What a rule under `channels` may hold; a member left out is the general one.
local CHANNEL_RULE = {
  {
    key = "slow", type = "enum", values = { "disconnect", "drop_oldest", "conflate" }, default = "disconnect",
    description = "What happens to a stream that does not keep up: it is ended and resumes, loses the oldest messages, "
      .. "or keeps the newest per event type.",
  },
  { key = "messages", inherits = "history.messages", description = "As `history.messages`." },
  { key = "bytes", inherits = "history.bytes", description = "As `history.bytes`." },
  { key = "age", inherits = "history.age", description = "As `history.age`." },
}

local by_key = {}
for _, row in ipairs(schema) do by_key[row.key] = row end

for _, member in ipairs(CHANNEL_RULE) do
  local general = by_key[member.inherits]
  if general then
    member.type, member.min, member.max, member.unit = general.type, general.min, general.max, general.unit
  end
end
by_key.channels.members = CHANNEL_RULE

-- Returns { rows = all rows in the order of documents, by_key = rows by key, sections = set of first parts: "jwt",
-- ... }.
local sections = {}
for _, row in ipairs(schema) do
  local section = row.key:match("^(.-)%.")
  if section then sections[section] = true end
end

return { rows = schema, by_key = by_key, sections = sections }
