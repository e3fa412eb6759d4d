# What the parts of the Slurm testbed agree on. Source it; it has no effect but definitions.
# shellcheck shell=bash disable=SC2034

parts=$(dirname "${BASH_SOURCE[0]}")

# The testbed's own tmpfs, the same directory on all of its hosts; everything else below /run is each host's own.
shared=/run/testbed
# A fifo on which hosts say 'ready' or 'failed' to the switch.
news=$shared/news

# Ordinary users. Their numbers are above those that adduser and useradd give away, and below those of containers.
users=(alice bob carol dave)
first_uid=60101

# The network's addresses: hosts that compute are 1, 2, ...; the login host, which is there when they are several,
# has the last one.
network=10.213.0
login_address=$network.254
hosts_max=64

controller_port=6817
# Far beyond what a loaded machine with two processors needs; only what hangs reaches it.
patience=60

# names_of NUMBER: names of all hosts, the login host first. A cluster of one host is its own login host.
names_of() {
    [ "$1" = 1 ] || echo login
    seq -f 'node%.0f' 0 "$(($1 - 1))"
}

# login_of NUMBER: the host with the controller, where users log in.
login_of() { if [ "$1" = 1 ]; then echo node0; else echo login; fi; }

# address_of NAME
address_of() {
    case $1 in
        login) echo "$login_address" ;;
        *) echo "$network.$((${1#node} + 1))" ;;
    esac
}

# Starts a host in the background. Its network outlives it, with its cable out: a host that crashed can be started
# again. Runs in the switch.
boot() {
    ip link set "$1" up
    nsenter --net="/run/netns/$1" unshare --uts --mount --ipc --pid --fork --kill-child -- \
        bash "$parts/host" "$1" </dev/null &
}

# say_pid NAME: notes the caller's process id as the machine outside has it. To call before /proc is another one.
say_pid() {
    local pid
    read -r pid _ </proc/self/stat
    echo "$pid" >"$shared/hosts/.$1"
    mv "$shared/hosts/.$1" "$shared/hosts/$1"
}
