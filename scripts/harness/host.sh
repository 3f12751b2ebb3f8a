# The part of the study that runs on another host. ssh.py sends this text to `bash -s` there, followed
# by a call of one of these functions; what comes later on standard input is theirs. Every host needs
# bash, because `read -t` is what notices that the other side has gone silent.
export LC_ALL=C
# What the user's own settings have printed before this counts for nothing.
echo idlewheel: begins
echo idlewheel: begins >&2

# end PID: a process and its group, asked first, then forced.
end() {
    kill -TERM -- "-$1" 2>/dev/null
    for _ in {1..30}; do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null
}

# keep SECONDS: makes a private folder in which programs may run and prints its name. Stays until
# standard input ends, or is silent for so long; then it ends what run() has started, and removes the
# folder. So nothing is left behind when the network is lost, which the host's sshd does not notice.
keep() {
    local silence=$1 parent pids
    umask 077
    for parent in "${TMPDIR:-/tmp}" /var/tmp /dev/shm "$HOME"; do
        folder=$(mktemp -d "$parent/idlewheel-XXXXXXXX" 2>/dev/null) || continue
        printf '#!/bin/sh\n' >"$folder/trial"
        chmod 700 "$folder/trial"
        "$folder/trial" 2>/dev/null && break
        rm -rf -- "$folder"
        folder=
    done
    if [ -z "$folder" ]; then
        echo "no folder for temporary files in which programs may run; set TMPDIR there" >&2
        exit 3
    fi
    trap '' HUP INT TERM
    echo "$folder"
    while read -r -t "$silence" _; do :; done
    for pids in "$folder"/pid.*; do
        [ -e "$pids" ] && end "${pids##*.}"
    done
    rm -rf -- "$folder"
    exit 0
}

# run FOLDER PROGRAM ARGUMENT...: waits for a line on standard input, then runs the program with all
# descriptors that it may have. Each further line names a signal for it. When standard input ends, the
# program is ended. The first line on standard error is "pid N".
run() {
    local folder=$1 word pid code
    shift
    ulimit -Sn "$(ulimit -Hn)"
    exec 3<&0
    cd -- "$folder" || exit 3
    read -r word <&3 || exit 3
    set -m # a group of its own, in which SIGINT is not ignored
    "$@" </dev/null 3<&- &
    set +m
    pid=$!
    echo "pid $pid" >&2
    if ! : >"$folder/pid.$pid"; then # keep() has ended
        end "$pid"
        exit 3
    fi
    {
        while read -r word <&3; do
            kill -s "$word" "$pid" 2>/dev/null
        done
        end "$pid"
    } >/dev/null 2>&1 &
    wait "$pid"
    code=$?
    rm -f -- "$folder/pid.$pid"
    kill "$!" 2>/dev/null
    exit "$code"
}

# put FILE BYTES: so many bytes of standard input become a program.
put() {
    head -c "$2" >"$1" && chmod 700 "$1" && [ "$(stat -c %s -- "$1")" = "$2" ]
    exit
}

# ask ADDRESS PORT PATH: the answer to a GET, header and all.
ask() {
    exec 4<>"/dev/tcp/$1/$2" || return
    # In one piece, which printf would not write; the last line ends with the newline of <<<.
    cat <<<"GET $3 HTTP/1.1"$'\r\nHost: idlewheel\r\nConnection: close\r\n\r' >&4
    cat <&4
    exec 4>&-
}

# reaches ADDRESS PORT: whether a connection can be opened, within 5 seconds.
reaches() {
    timeout 5 bash -c 'exec 4<>"/dev/tcp/$0/$1"' "$1" "$2"
}

# show FILE...: each of them that can be read, behind its name.
show() {
    local file
    for file; do
        if [ -r "$file" ] && [ -f "$file" ]; then
            printf '\n@@ %s\n' "$file"
            cat -- "$file" 2>/dev/null
        fi
    done
    return 0
}

# say NAME COMMAND...: what a command prints, behind a name.
say() {
    local name=$1
    shift
    printf '\n@@ %s\n' "$name"
    "$@" 2>&1
    return 0
}
