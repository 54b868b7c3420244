-- SPDX-License-Identifier: MIT
-- What the container serves by default; mount a file of your own over it. JWT_SECRET, ALLOWED_ORIGINS, REDIS_URL and PORT override what they name. Beyond
-- loopback the server wants a key: without JWT_SECRET it does not start.
return {
  listen = "0.0.0.0:8080",
}
