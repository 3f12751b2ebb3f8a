# shellcheck shell=bash
# Sourced by the scripts that run something on another release of Debian or Ubuntu, in a root made by
# debootstrap. Whatever ends such a script, its processes in there end too. The root is removed, except
# after SIGKILL. Nothing on this system changes. MIRROR names another mirror, and KEYRING the file with
# the keys of its releases.

me=$(basename -- "$0")
missing() { echo "$me: $1" >&2; exit 3; }
[ "$(id -u)" -eq 0 ] || missing "needs root"
command -v debootstrap >/dev/null || missing "apt-get install debootstrap"

scratch=$(mktemp -d)
root=$scratch/root
# The mounts of debootstrap and of inside() are private to them, so there is nothing to unmount.
clean_up() {
    set +e # a failure here must neither stop the clean-up nor change the exit status
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT

# alone PROGRAM...: it sees no process but its own, and ends with this script. Its mounts end with it.
alone() { setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@"; }

# The mirror that this system uses.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1
}

# debootstrap knows a release by a script of its name. One that it does not know yet is made as `$2` is.
script_of() {
    local script=/usr/share/debootstrap/scripts/$1
    if [ -e "$script" ]; then echo "$script"; else echo "/usr/share/debootstrap/scripts/$2"; fi
}

# make_root RELEASE: the root of a minimal system in $root.
make_root() {
    local release=$1 mirror keyring components script
    case $release in
    jammy | noble | resolute) # Ubuntu's releases with long support
        mirror=${MIRROR:-http://archive.ubuntu.com/ubuntu}
        keyring=${KEYRING:-/usr/share/keyrings/ubuntu-archive-keyring.gpg}
        components=main,universe
        script=$(script_of "$release" gutsy)
        ;;
    *)
        mirror=${MIRROR:-$(debian_mirror)}
        keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
        components=main
        script=$(script_of "$release" sid)
        ;;
    esac
    [ -r "$keyring" ] || missing "no keys in $keyring to check $release with; install them, or name them with KEYRING"
    alone debootstrap --variant=minbase --components="$components" \
        --keyring="$keyring" "$release" "$root" "$mirror" "$script" >"$scratch/log" 2>&1 || {
        tail -n 3 "$scratch/log" >&2
        missing "the mirror $mirror has no usable release $release (see above)"
    }
    # A mirror may be a copy that is some weeks old.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90old-mirror"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/90quick" # nobody needs the root after a crash
    if [ -r "${NODE_EXTRA_CA_CERTS:-}" ]; then # the certificate of a proxy, which npm has to trust
        cp "$NODE_EXTRA_CA_CERTS" "$root/etc/proxy.pem"
    fi
}

# copy_tree: this checkout without what was built in it, at /idlewheel in the root.
copy_tree() {
    mkdir -p "$root/idlewheel"
    tar -c --exclude=./build --exclude=node_modules --exclude=.git --exclude=./results . |
        tar -x -C "$root/idlewheel"
}

# inside PROGRAM...: runs it in the root, in /idlewheel if that is there. It sees nothing of this
# system's environment but a proxy, because what the environment names may not be there.
inside() {
    alone bash -c '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --bind /dev/pts "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        chroot "$root" "$@"
        exit $?' bash "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root ${http_proxy:+"http_proxy=$http_proxy"} \
        ${https_proxy:+"https_proxy=$https_proxy"} ${NODE_EXTRA_CA_CERTS:+NODE_EXTRA_CA_CERTS=/etc/proxy.pem} \
        sh -c 'cd /idlewheel 2>/dev/null; exec "$@"' sh "$@"
}
