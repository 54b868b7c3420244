#compdef sluice
# SPDX-License-Identifier: MIT
# Made by doc/generate/completion.lua: `make doc` writes it anew.

_sluice_settings() {
  local -a keys=(listen= workers= scripts= insecure= admin= drain= trust_proxy= jwt.key= jwt.key_file= jwt.algorithms= jwt.leeway= jwt.issuer= jwt.audience= jwt.cookie= cors.origins= cors.credentials= ratelimit.window= ratelimit.max= ratelimit.concurrent= ratelimit.message= ratelimit.shared= limits.connections= limits.busy= limits.header_bytes= limits.body_bytes= limits.header_timeout= limits.idle_timeout= limits.queue_bytes= limits.channels_per_stream= limits.script_ms= limits.script_bytes= limits.script_call_bytes= history.messages= history.bytes= history.age= history.total_bytes= stream.opening= stream.heartbeat= stream.retry= stream.stale= compression.gzip= compression.level= compression.min_bytes= redis.url= redis.user= redis.password= redis.ca_file= redis.cert_file= redis.key= redis.maxlen= log.level= log.format= log.access= log.frames=)
  compadd -S '' -a keys
}

_sluice() {
  local curcontext="$curcontext" state
  local -a commands=(
    'serve:Runs a server; prints its address once it is ready.'
    'check:Loads configuration and scripts as serve would, and says what is wrong.'
    'init:Writes DIR/sluice.conf.lua and DIR/scripts/*.lua to start from, and DIR/.luarc.json for editors; never overwrites.'
    'listen:Follows the event stream at URL and prints its events; connects again as EventSource does.'
    'tap:Prints the frames that the server at URL sends, as it sends them, without touching its streams.'
    'publish:Publishes DATA, or standard input, to a channel of the server at URL.'
    'token:Makes a signed token for trying things out.'
  )
  _arguments -C '--help[Shows help.]' '--version[Shows the version.]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
        serve)
          _arguments '--config=[Reads the configuration from a Lua file.]:FILE:_files' \
            '*--set=[Sets one configuration key.]:KEY=VALUE:_sluice_settings' \
            '--listen=[Listens on host\:port; port 0 takes a free one.]:ADDR: ' \
            '--workers=[Starts N workers.]:N: ' \
            '--scripts=[Takes the policy scripts of DIR.]:DIR:_files -/' \
            '--insecure[Allows to listen beyond loopback without a key.]' \
            '--help[Shows help.]'
          ;;
        check)
          _arguments '--config=[Reads the configuration from a Lua file.]:FILE:_files' \
            '*--set=[Sets one configuration key.]:KEY=VALUE:_sluice_settings' \
            '--listen=[Listens on host\:port; port 0 takes a free one.]:ADDR: ' \
            '--workers=[Starts N workers.]:N: ' \
            '--scripts=[Takes the policy scripts of DIR.]:DIR:_files -/' \
            '--insecure[Allows to listen beyond loopback without a key.]' \
            '--help[Shows help.]'
          ;;
        init)
          _arguments '--help[Shows help.]' \
            '1:DIR:_files -/'
          ;;
        listen)
          _arguments '--json[Prints one object {"id","event","data","at"} a line and nothing else.]' \
            '--count=[Ends after so many events.]:N: ' \
            '--for=[Ends after so many seconds.]:SECONDS: ' \
            '--token=[Sends a token, as Authorization\: Bearer.]:TOKEN: ' \
            '*--header=[Sends a header field.]:NAME\:VALUE: ' \
            '--ca=[Trusts the certificates in FILE (PEM) for https\://, instead of the system'\''s.]:FILE:_files' \
            '--last-event-id=[Goes on after the message with this id.]:ID: ' \
            '--help[Shows help.]' \
            '1:URL: '
          ;;
        tap)
          _arguments '--stream=[Only those of one stream.]:ID: ' \
            '--address=[Only those of one client'\''s address.]:ADDRESS: ' \
            '--channel=[Only messages of one channel.]:CHANNEL: ' \
            '--token=[Sends a token, as Authorization\: Bearer; its claim sluice.admin must be true.]:TOKEN: ' \
            '--ca=[Trusts the certificates in FILE (PEM) for https\://, instead of the system'\''s.]:FILE:_files' \
            '--json[Prints one object {"stream","channel","at","worker","frame"} a line and nothing else.]' \
            '--count=[Ends after so many frames.]:N: ' \
            '--for=[Ends after so many seconds.]:SECONDS: ' \
            '--help[Shows help.]' \
            '1:URL: '
          ;;
        publish)
          _arguments '--event=[Gives the message an event type.]:TYPE: ' \
            '--token=[Sends a token, as Authorization\: Bearer.]:TOKEN: ' \
            '--help[Shows help.]' \
            '1:URL: ' \
            '2:CHANNEL: ' \
            '3::DATA: '
          ;;
        token)
          _arguments '--sub=[Names the user (sub)\: what scripts see as request.user and stream.user.]:USER: ' \
            '*--subscribe=[Allows to subscribe to these channels\: news,user.42.*]:LIST: ' \
            '*--publish=[Allows to publish to these channels.]:LIST: ' \
            '--admin[Makes it an administrator'\''s.]' \
            '--exp=[Expires so many seconds from now (3600), or never.]:SECONDS: ' \
            '--key=[Signs with this secret; by default with the configuration'\''s key.]:KEY: ' \
            '--algorithm=[Signs by this algorithm; by default the first of jwt.algorithms.]:NAME:(HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512)' \
            '--config=[Reads the configuration from a Lua file.]:FILE:_files' \
            '*--set=[Sets one configuration key.]:KEY=VALUE:_sluice_settings' \
            '--help[Shows help.]'
          ;;
        help) _describe command commands ;;
      esac
      ;;
  esac
}

_sluice "$@"
