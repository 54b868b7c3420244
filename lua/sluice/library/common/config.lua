---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS): the settings. Made from lua/sluice/config/schema.lua by `make doc`. Never run.

---What a configuration file returns.
---@class sluice.settings
---@field listen? string Where to listen: `host:port`, IPv6 in brackets (`[::1]:8080`). Port 0 takes a free one. `PORT` sets only the port; default: "127.0.0.1:8080"
---@field workers? integer Threads that serve connections; default: number of cores
---@field scripts? string Folder of policy scripts. It replaces the default policy whole; default: the default policy
---@field insecure? boolean Allows to listen beyond loopback without a key: anyone may then subscribe and publish; default: false
---@field admin? boolean Whether the routes below `/_sluice/` are there: with a key for administrators' tokens, without one for clients on the same machine; default: true
---@field drain? number Time over which streams are ended when the server stops; default: 10
---@field trust_proxy? string[] Addresses of proxies whose `X-Forwarded-For` counts, or ranges of them; default: {}
---@field channels? table<string, sluice.channel_rule> Rules by channel: a name, or a prefix with `*` at its end, to a table of `slow`, `messages`, `bytes` and `age`. The longest that matches a channel wins; default: {}
---@field jwt? sluice.settings_jwt
---@field cors? sluice.settings_cors
---@field ratelimit? sluice.settings_ratelimit
---@field limits? sluice.settings_limits
---@field history? sluice.settings_history
---@field stream? sluice.settings_stream
---@field compression? sluice.settings_compression
---@field redis? sluice.settings_redis
---@field log? sluice.settings_log

---The settings under `jwt`.
---@class sluice.settings_jwt
---@field key? string The key that tokens are verified with: a shared secret, or a public key as PEM text
---@field key_file? string A file to read that key from instead. A line end at its end does not count
---@field algorithms? ("HS256"|"HS384"|"HS512"|"RS256"|"RS384"|"RS512"|"ES256"|"ES384"|"ES512")[] The algorithms a token may be signed with. All must fit the key: `HS*` a shared secret, `RS*` an RSA key, one `ES*` the key on its own curve; default: { "HS256" }
---@field leeway? number How far clocks may differ when `exp` and `nbf` are checked; default: 0
---@field issuer? string What a token's `iss` must be
---@field audience? string What a token's `aud` must be, or contain
---@field cookie? string Name of a cookie that may carry the token

---The settings under `cors`.
---@class sluice.settings_cors
---@field origins? string[] Origins whose pages may use the server: exact ones, `https://*.app.example` for all names below one, or `*` for all; default: {}
---@field credentials? boolean Whether those pages may send cookies; default: false

---The settings under `ratelimit`.
---@class sluice.settings_ratelimit
---@field window? number The window in which new streams are counted; default: 900
---@field max? integer New streams per address and window; default: 600
---@field concurrent? integer Open streams per address; default: 100
---@field message? string The error that a client over these limits is told; default: "too many streams from this address, try again later"
---@field shared? boolean Whether limits count over all nodes of a cluster, those of `sluice.limit` in scripts too. Needs `redis.url`; default: false

---The settings under `limits`.
---@class sluice.settings_limits
---@field connections? integer TCP connections over all workers; default: 10000
---@field busy? "refuse"|"retry" What a new stream gets when there are that many: 503 (`refuse`), or an empty stream that tells EventSource to come back (`retry`); default: "refuse"
---@field header_bytes? integer Size of a request's line and header; default: 16384
---@field body_bytes? integer Size of a request's body; default: 1048576
---@field header_timeout? number Time for a request to arrive; default: 10
---@field idle_timeout? number Time a connection may wait for its next request; default: 60
---@field queue_bytes? integer What may wait to be sent to one stream before it counts as slow; default: 1048576
---@field channels_per_stream? integer Channels one stream may subscribe to; more are answered with 400; default: 100
---@field script_ms? integer CPU time a hook or handler may use before it gives way; default: 100
---@field script_bytes? integer Memory that scripts may hold, per worker; default: 268435456
---@field script_call_bytes? integer Memory by which one call of a script may grow; default: 33554432

---The settings under `history`.
---@class sluice.settings_history
---@field messages? integer Messages kept per channel for replay; 0 keeps none; default: 1000
---@field bytes? integer Bytes kept per channel; 0 keeps none; default: 4194304
---@field age? number How long a message is kept; 0 keeps none; default: 300
---@field total_bytes? integer Bytes kept over all channels; default: 268435456

---The settings under `stream`.
---@class sluice.settings_stream
---@field opening? boolean Whether a stream opens with its `sluice.open` event; default: true
---@field heartbeat? number Silence after which a stream gets a comment; default: 15
---@field retry? integer Reconnection time told to clients; each gets 1 to 2 times this; default: 2000
---@field stale? number A client that acknowledges nothing for so long, while bytes wait, is cut off; default: 300

---The settings under `compression`.
---@class sluice.settings_compression
---@field gzip? boolean Whether streams are compressed for clients that accept gzip; default: true
---@field level? integer 1 is fastest, 9 smallest; default: 6
---@field min_bytes? integer Messages below this size are compressed only together with others, not by themselves; default: 256

---The settings under `redis`.
---@class sluice.settings_redis
---@field url? string The Redis server that joins nodes to a cluster: `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS
---@field user? string The user to log in as where `redis.url` names none
---@field password? string The password to log in with where `redis.url` has none
---@field ca_file? string For `rediss://`: a file (PEM) with the authorities one of which must have signed Redis' certificate, in the place of the system's
---@field cert_file? string For `rediss://`, where Redis asks for one: a file (PEM) with the server's own certificate, those between it and its authority, and its private key
---@field key? string Key of the Redis stream that holds the log; default: "sluice:log"
---@field maxlen? integer Messages kept in it; from 1000 on Redis keeps up to 100 more, which costs it less; default: 100000

---The settings under `log`.
---@class sluice.settings_log
---@field level? "debug"|"info"|"warn"|"error" The least severe records that are written; default: "info"
---@field format? "text"|"json" Text for people, or one JSON object a line; default: "text"
---@field access? boolean Whether each request is logged, and each stream when it opens and when it ends; default: false
---@field frames? boolean Whether each frame that is sent is logged; default: false

---A rule under `channels`.
---@class sluice.channel_rule
---@field slow? "disconnect"|"drop_oldest"|"conflate" What happens to a stream that does not keep up: it is ended and resumes, loses the oldest messages, or keeps the newest per event type; default: "disconnect"
---@field messages? integer As `history.messages`
---@field bytes? integer As `history.bytes`
---@field age? number As `history.age`
