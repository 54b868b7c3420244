# SPDX-License-Identifier: MIT
# Types a line and a tab into a zsh on a terminal of its own, and prints what the shell has made of the line.
# usage: zsh -f complete.zsh FOLDER LINE WANTED     FOLDER holds _sluice; ends with 1 where WANTED does not come
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "PS1= PS2=; stty columns 200; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -D -u; print rea''dy"

wait_for() {
  local piece deadline=$((SECONDS + 10))
  got=
  while ((SECONDS < deadline)); do
    if zpty -r -t shell piece; then
      got+=$piece
      [[ $got == *$1* ]] && return 0
    else
      sleep 0.01
    fi
  done
  print -u2 -r -- "zsh shows: ${(V)got}"
  exit 1
}

wait_for ready
zpty -w -n shell "$2"$'\t'
wait_for "$3"
print -r -- "$3"
zpty -d shell
