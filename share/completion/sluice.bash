# SPDX-License-Identifier: MIT
# Made by doc/generate/completion.lua: `make doc` writes it anew.
_sluice() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" flags="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        serve | check | init | listen | tap | publish | token | help)
            command=$word
            break
            ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --config | --ca)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --set)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W "listen= workers= scripts= insecure= admin= drain= trust_proxy= jwt.key= jwt.key_file= jwt.algorithms= jwt.leeway= jwt.issuer= jwt.audience= jwt.cookie= cors.origins= cors.credentials= ratelimit.window= ratelimit.max= ratelimit.concurrent= ratelimit.message= ratelimit.shared= limits.connections= limits.busy= limits.header_bytes= limits.body_bytes= limits.header_timeout= limits.idle_timeout= limits.queue_bytes= limits.channels_per_stream= limits.script_ms= limits.script_bytes= limits.script_call_bytes= history.messages= history.bytes= history.age= history.total_bytes= stream.opening= stream.heartbeat= stream.retry= stream.stale= compression.gzip= compression.level= compression.min_bytes= redis.url= redis.user= redis.password= redis.ca_file= redis.cert_file= redis.key= redis.maxlen= log.level= log.format= log.access= log.frames=" -- "$cur")
        return
        ;;
    --listen | --workers | --count | --for | --token | --header | --last-event-id | --stream | --address | --channel | --event | --sub | --subscribe | --publish | --exp | --key)
        : # nothing to offer
        return
        ;;
    --scripts)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --algorithm)
        mapfile -t COMPREPLY < <(compgen -W "HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512" -- "$cur")
        return
        ;;
    esac
    case $command in
    serve) flags="--config --set --listen --workers --scripts --insecure --help" ;;
    check) flags="--config --set --listen --workers --scripts --insecure --help" ;;
    init) flags="--help" ;;
    listen) flags="--json --count --for --token --header --ca --last-event-id --help" ;;
    tap) flags="--stream --address --channel --token --ca --json --count --for --help" ;;
    publish) flags="--event --token --help" ;;
    token) flags="--sub --subscribe --publish --admin --exp --key --algorithm --config --set --help" ;;
    help) flags="serve check init listen tap publish token" ;;
    *) flags="serve check init listen tap publish token help --help --version" ;;
    esac
    if [[ $cur != -* && " init " == *" $command "* && -n $command ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
    fi
}
complete -F _sluice sluice
