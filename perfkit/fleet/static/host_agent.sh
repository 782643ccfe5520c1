# What perfkit does on a host that was there before it and stays afterwards. POSIX sh, run as root:
#
#   look WORKDIR TOOL... nic:DEVICE...   what is here, as key=value lines
#   claim WORKDIR RUN USER EXPIRES TAG    take the host for a run; TAG is the text of its tag file
#   note WORKDIR RUN LINE                 add a line to the tag
#   clean WORKDIR RUN USER                remove all that the run put here, and give the host free
#   keep WORKDIR RUN USER EXPIRES         wait until EXPIRES (epoch seconds), then clean
#
# The text of this file is in $text: it is run without a file of its own, and `claim` hands it on to
# `keep`, which cleans up after a controller that never comes back.
#
# Whose is what: all files lie in WORKDIR; a process of the run has PERFKIT_WORKDIR=WORKDIR in its
# environment or a path below WORKDIR as an argument, and lives in this PID namespace (a container
# on the host may hold a perfkit of its own); the crontab's lines stand between two marks.
set -u
: "${text:?}"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022

verb=$1 workdir=$2
shift 2
tag=$workdir/perfkit.tag

tag_value() { sed -n "s/^$1=//p" "$tag" 2>/dev/null | head -n 1; }
carries_hosts() { [ "$(tag_value carries)" = hosts ]; }
is_empty() { [ -z "$(ls -A "$1" 2>/dev/null)" ]; }
show_tag() { sed 's/^/tag./' "$tag" 2>/dev/null; }

# Why somebody else could change what lies in WORKDIR, by which root would run it; nothing if nobody
# could. Every folder on the way must be root's or the login's, and not to be written to by others;
# above WORKDIR the sticky bit will do, since it keeps them from renaming what is not theirs.
unsafe() {
    [ ! -L "$workdir" ] || { echo "$workdir is a link"; return; }
    login=${SUDO_USER:-root} sticky=no
    uid=$(id -u "$login") gid=$(id -g "$login")
    place=$workdir
    [ -e "$place" ] || place=${workdir%/*} sticky=yes
    place=$(readlink -f "${place:-/}") || return
    while :; do
        owner=$(stat -c %u "$place") group=$(stat -c %g "$place") mode=$(stat -c %a "$place")
        case $owner in
            0 | "$uid") ;;
            *) echo "$place belongs to $(stat -c %U "$place")"; return ;;
        esac
        case $mode in [1357]???) [ $sticky = no ] || mode=0 ;; esac
        case $group in 0 | "$gid") mode=${mode#"${mode%?}"} ;; esac
        case $mode in
            *[2367] | *[2367]?) echo "$place can be written by others, $(stat -c %A "$place")"; return ;;
        esac
        [ "$place" != / ] || return 0
        place=${place%/*} sticky=yes
        place=${place:-/}
    done
}

look() {
    [ -z "$danger" ] || echo "unsafe=$danger"
    echo "now=$(date +%s)"
    boot=$(cat /proc/sys/kernel/random/boot_id) && echo "machine=$boot $(stat -c %d:%i /)"
    [ -c /dev/net/tun ] && { : <>/dev/net/tun; } 2>/dev/null && echo tun=yes
    for tool in "$@"; do
        case $tool in
            nic:*) [ ! -e "/sys/class/net/${tool#nic:}" ] || echo "nic=${tool#nic:}" ;;
            *) command -v "$tool" >/dev/null || echo "lacks=$tool" ;;
        esac
    done
    place=$workdir
    [ -d "$place" ] || place=${workdir%/*}
    [ -d "${place:-/}" ] || echo "no_folder=$place"
    df -Pk "${place:-/}" 2>/dev/null | awk 'NR == 2 { print "free_kib=" $4 }'
    mounted=$(df -Pk "${place:-/}" 2>/dev/null | awk 'NR == 2 { print $6 }')
    awk -v at="$mounted" '$2 == at { how = $4 } END { if ("," how "," ~ /,noexec,/) print "noexec=" at }' \
        /proc/mounts
    # Each host that is packed onto it is a process with a tag, see perfkit/fleet/local/tags.py.
    ! carries_hosts ||
        echo "packed=$(grep -lsz "^perfkit-host run=$(tag_value run) " /proc/[0-9]*/cmdline | wc -l)"
    if [ -e "$tag" ]; then show_tag
    elif [ -e "$workdir" ] && { [ ! -d "$workdir" ] || ! is_empty "$workdir"; }; then echo foreign=yes
    fi
}

claim() {
    run=$1 user=$2 expires=$3 text_of_tag=$4
    held=$(tag_value run)
    if [ -n "$held" ] && [ "$held" != "$run" ] && [ "$(tag_value expires)" -lt "$(date +%s)" ]; then
        clean "$held" "$user" >&2 # its own timer did not survive, for example a reboot
        held=$(tag_value run)
    fi
    if [ "$held" = "$run" ]; then echo mine=yes; show_tag; return; fi
    if [ -n "$held" ]; then show_tag; return; fi
    made=no
    if why=$(mkdir "$workdir" 2>&1); then made=yes
    elif [ ! -d "$workdir" ]; then echo "refused=$why" | head -n 1; return
    elif ! is_empty "$workdir"; then echo foreign=yes; return
    fi
    draft=$workdir/.tag.$$
    owned=$(stat -c %u:%g:%a "$workdir")
    if ! why=$({ # only whole: a full disk takes the beginning
        printf '%s\nowned=%s\nmade=%s\n' "$text_of_tag" "$owned" "$made" >"$draft" &&
            ln "$draft" "$tag" # the one step that only one run can do
    } 2>&1); then
        rm -f "$draft"
        if [ -e "$tag" ]; then show_tag
        else echo "refused=$why" | head -n 1
        fi
        return
    fi
    rm -f "$draft"
    chown "$user" "$workdir"
    PERFKIT_WORKDIR=$workdir setsid sh -c "$text" perfkit-host-agent \
        keep "$workdir" "$run" "$user" "$expires" </dev/null >/dev/null 2>&1 &
    echo claimed=yes
    show_tag
}

note() {
    [ "$(tag_value run)" != "$1" ] || printf '%s\n' "$2" >>"$tag"
}

# Processes of the run. One grep reads all of /proc; -z: arguments and variables end with a NUL.
ours() {
    here=$(readlink /proc/self/ns/pid)
    {
        grep -lszxF "PERFKIT_WORKDIR=$workdir" /proc/[0-9]*/environ
        grep -lsz "^$workdir/" /proc/[0-9]*/cmdline
    } | cut -d / -f 3 | sort -un | while read -r pid; do
        [ "$(readlink "/proc/$pid/ns/pid" 2>/dev/null)" = "$here" ] && echo "$pid"
    done
}

end_processes() {
    for signal in TERM KILL; do
        tries=0
        pids=$(ours)
        while [ -n "$pids" ] && [ $tries -lt 30 ]; do
            # shellcheck disable=SC2086 # several words
            [ $((tries % 10)) -ne 0 ] || kill -$signal $pids 2>/dev/null
            sleep 0.1
            tries=$((tries + 1))
            pids=$(ours)
        done
    done
    for pid in $pids; do echo "left=process $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline"))"; done
}

# Hosts that were packed onto this machine, and what was changed for them: perfkit/fleet/packed/machine.sh.
stop_packed() {
    [ -f "$workdir/packed/stop" ] || return 0
    said=$(cd "$workdir/packed" && timeout -k 1 40 sh ./stop 2>&1 </dev/null)
    status=$?
    printf '%s\n' "$said" | grep -e '^left=' -e '^cleaned='
    [ $status -ne 0 ] || return 0
    echo "left=hosts packed onto it: $(printf '%s\n' "$said" | tail -n 1)"
    return 1
}

# A VPN in the kernel is no process, and only its own script knows what else it has made.
stop_vpn() {
    [ -x "$workdir/vpn/stop" ] || return 0
    (cd "$workdir/vpn" && timeout -k 1 20 ./stop) >/dev/null 2>&1 </dev/null
}

clean_crontab() { # $1: whose
    crontab -u "$1" -l 2>/dev/null | grep -q '^# perfkit: begin$' || return 0
    rest=$(crontab -u "$1" -l | sed '/^# perfkit: begin$/,/^# perfkit: end$/d'; echo .)
    rest=${rest%.} # command substitution would take newlines from the end
    if [ -n "$rest" ]; then printf '%s' "$rest" | crontab -u "$1" -
    else crontab -u "$1" -r
    fi
}

# A link of the run, see perfkit/campaign/links_over_ssh.py: its device names the interface it is on.
clean_link() { # $1: the run
    # shellcheck disable=SC2046 # two words
    set -- $(ip -o link show perfkit-ifb 2>/dev/null |
        sed -n "s/.* alias perfkit $1 \\([^ \\\\]*\\) *\\([0-9]*\\).*/\\1 \\2/p")
    [ $# -gt 0 ] || return 0
    tc qdisc del dev "$1" root 2>/dev/null
    tc qdisc del dev "$1" ingress 2>/dev/null
    ip link set dev "$1" gso_max_segs "${2:-65535}" || echo "left=gso_max_segs 1 of $1"
    ip link del perfkit-ifb || echo "left=device perfkit-ifb"
}

clean() {
    held=$(tag_value run)
    [ "$held" = "$1" ] || { echo "held=$held"; return; }
    name=$(tag_value name) what=cleaned
    ! carries_hosts || what=freed # it was no host of the run itself
    stop_packed || return 0 # all that it takes to end them stays
    clean_crontab "$2"
    end_processes # first of all who may be starting the VPN, or putting a link on
    stop_vpn
    clean_link "$1"
    end_processes
    for device in $(sed -n 's/^device=//p' "$tag"); do
        [ ! -e "/sys/class/net/$device" ] || echo "left=device $device"
    done
    cd / || return
    made=$(tag_value made) owned=$(tag_value owned)
    find "$workdir" -mindepth 1 -maxdepth 1 ! -name perfkit.tag -exec rm -rf -- {} +
    left=$(find "$workdir" -mindepth 1 ! -path "$tag" | head -n 3)
    if [ -n "$left" ]; then echo "left=files $left" | tr '\n' ' '; echo; return; fi
    # The tag goes last: while it is here, the next clean finds what this one could not finish.
    rm -f "$tag"
    if [ "$made" = yes ]; then rmdir "$workdir"
    else
        chown "${owned%:*}" "$workdir"
        chmod "${owned##*:}" "$workdir"
    fi
    echo "$what=$name"
}

keep() {
    while left_s=$(($3 - $(date +%s))) && [ $left_s -gt 0 ]; do
        [ $left_s -le 30 ] || left_s=30 # a clock that is set meanwhile is noticed
        sleep $left_s
    done
    # Without the mark of the run in its environment, lest it ends itself.
    exec env -u PERFKIT_WORKDIR sh -c "$text" perfkit-host-agent clean "$workdir" "$1" "$2"
}

danger=$(unsafe)
case $verb:$danger in
    look:* | claim: | note: | clean: | keep:) "$verb" "$@" ;;
    claim:*) echo "unsafe=$danger"; show_tag || : ;;
    clean:* | keep:*) echo "left=$workdir, untouched: $danger" ;;
    note:*) ;;
    *) echo "unknown=$verb"; exit 2 ;;
esac
