# SPDX-License-Identifier: MIT
# A container with Sluice: docker build -t sluice . && docker run --rm -p 8080:8080 -e JWT_SECRET=... sluice
# doc/install.md says more. The steps are the targets of the Makefile, which the tests run too.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# First what the libraries depend on, so that a change elsewhere does not install them anew.
COPY Makefile ./
COPY cmake/deps.sh cmake/
RUN make deps-build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make install PREFIX=/usr/local DESTDIR=/installed

FROM debian:bookworm-slim
COPY cmake/deps.sh /tmp/deps.sh
RUN /tmp/deps.sh run && rm -rf /tmp/deps.sh /var/lib/apt/lists/*
COPY --from=build /installed/usr/local /usr/local
COPY share/container/sluice.conf.lua /etc/sluice/sluice.conf.lua
COPY share/container/health.lua /usr/local/libexec/sluice/health.lua

# By number, so that Kubernetes sees that it is not root. The server writes nowhere: --read-only is fine.
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --retries=3 CMD ["lua5.4", "/usr/local/libexec/sluice/health.lua"]
# The server is the container's process 1, and leaves on SIGTERM over `drain` seconds: give `docker stop` more than these (--time 15).
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["serve", "--config", "/etc/sluice/sluice.conf.lua"]
