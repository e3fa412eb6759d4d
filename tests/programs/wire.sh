# A PMI client in shell, for tests that say more than a library would. Source it in bash; the rank's connection is
# PMI_FD, or PMI_PORT where there is no PMI_FD.

if [ -z "${PMI_FD:-}" ]; then
    exec {PMI_FD}<>"/dev/tcp/${PMI_PORT%:*}/${PMI_PORT##*:}"
fi

# tell LINE: sends a PMI-1 request.
tell() { printf '%s\n' "$1" >&"$PMI_FD"; }

# ask LINE: sends a PMI-1 request and prints its answer, one line.
ask() {
    local answer
    tell "$1"
    IFS= read -r -u "$PMI_FD" answer || answer='(closed)'
    printf '%s\n' "$answer"
}

# ask2 ATTRIBUTES: the same in PMI-2.
ask2() {
    local length answer
    printf '%-6d%s' "${#1}" "$1" >&"$PMI_FD"
    IFS= read -r -N 6 -u "$PMI_FD" length || length=0
    IFS= read -r -N "$((length))" -u "$PMI_FD" answer || answer='(closed)'
    printf '%s\n' "$answer"
}

# join, leave: what every PMI-1 client does first and last.
join() { [ "$(ask 'cmd=init pmi_version=1 pmi_subversion=1')" = 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0' ]; }
leave() { [ "$(ask 'cmd=finalize')" = 'cmd=finalize_ack rc=0' ]; }

# join2, leave2: the same in PMI-2. PMI_ID stands before PMI_RANK.
join2() {
    ask 'cmd=init pmi_version=2 pmi_subversion=0' >/dev/null
    ask2 "cmd=fullinit;pmirank=${PMI_ID:-$PMI_RANK};threaded=FALSE;" | grep -q "rank=$PMI_RANK;size=$PMI_SIZE;.*rc=0;"
}
leave2() { [ "$(ask2 'cmd=finalize;')" = 'cmd=finalize-response;rc=0;' ]; }

# name: prints the kvsname.
name() { ask 'cmd=get_my_kvsname' | sed 's/.*kvsname=\([^ ]*\).*/\1/'; }
