# What a probe asks of a host, in one go, answered as lines "word<TAB>value<TAB>value…" between "look" and "end".
# Facts only: what they mean is decided on the controller (findings.py).
# The probe puts a line in front that sets the arguments: the package family ("" = detect), then paths.
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
export LC_ALL PATH

tell() {
    word=$1
    shift
    printf '%s' "$word"
    for value in "$@"; do printf '\t%s' "$value"; done
    printf '\n'
}

free_space() {
    for path in "$@"; do
        [ -d "$path" ] || continue
        df -Pk "$path" 2>/dev/null | awk -v path="$path" 'NR == 2 { print "free\t" path "\t" $(NF-2) "\t" $NF }'
    done
    [ -w /var/lib ] || tell readonly /var/lib
}

detect() {
    if command -v dpkg >/dev/null && command -v apt-get >/dev/null; then
        echo apt
    elif command -v zypper >/dev/null; then
        echo zypper
    elif command -v dnf >/dev/null || command -v yum >/dev/null; then
        echo dnf
    fi
}

# Locks that the kernel knows. The inode alone may be that of another file system, so the process must have the file open.
kernel_locks() {
    for file in "$@"; do
        [ -e "$file" ] || continue
        inode=$(stat -c %i "$file") || continue
        for pid in $(awk -v inode=":$inode" '$2 != "->" && $6 ~ inode "$" { print $5 }' /proc/locks); do
            ls -l "/proc/$pid/fd" 2>/dev/null | grep -qF -- "-> $file" || continue
            tell lock "$file" "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
        done
    done
}

# Files that hold the process id of their owner; the file of one that is gone means nothing.
pid_files() {
    for file in "$@"; do
        [ -f "$file" ] || continue
        pid=$(tr -cd 0-9 <"$file")
        [ -n "$pid" ] && [ -d "/proc/$pid" ] || continue
        tell lock "$file" "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
    done
}

dpkg_problems() {
    said=$(dpkg --audit 2>&1) && [ -z "$said" ] && return
    names=$(printf '%s\n' "$said" | awk '/^ / { print $1 }' | sort -u | tr '\n' ' ')
    tell broken "dpkg --audit" "${names:-$(printf '%s' "$said" | head -n 1)}"
}

rpm_problems() {
    limit=$(command -v timeout) && limit="$limit 8"
    if command -v rpmdb >/dev/null; then check="rpmdb --verifydb"; else check="rpm --verifydb"; fi
    # shellcheck disable=SC2086
    said=$($limit $check 2>&1) || tell broken "$check" "$(printf '%s' "$said" | head -n 1)"
}

package_manager() {
    case $1 in
    apt)
        kernel_locks /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock \
            /var/cache/apt/archives/lock
        dpkg_problems
        ;;
    dnf)
        pid_files /run/yum.pid /var/cache/dnf/*_lock.pid /var/lib/dnf/*_lock.pid
        kernel_locks /run/dnf/rpmtransaction.lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock
        rpm_problems
        ;;
    zypper)
        pid_files /run/zypp.pid /run/zypp-rpm.pid
        kernel_locks /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock
        rpm_problems
        ;;
    esac
}

pending_reboot() {
    for file in /run/reboot-required /var/run/reboot-required /run/reboot-needed; do
        [ -e "$file" ] && tell reboot "$file" && break
    done
    # A container runs its host's kernel, whatever it has installed.
    systemd-detect-virt -cq 2>/dev/null && return
    installed=$(
        for modules in /lib/modules/*; do
            version=${modules##*/}
            for image in "/boot/vmlinuz-$version" "/boot/Image-$version" "/boot/image-$version" "$modules/vmlinuz"; do
                [ -e "$image" ] && echo "$version" && break
            done
        done | sort -V
    )
    running=$(uname -r)
    printf '%s\n' "$installed" | grep -qxF -- "$running" &&
        tell kernel "$running" "$(printf '%s\n' "$installed" | tail -n 1)"
}

rival_updaters() {
    systemctl show --property=Id,ActiveState,UnitFileState apt-daily.timer apt-daily-upgrade.timer \
        unattended-upgrades.service dnf-automatic.timer dnf-automatic-install.timer dnf-automatic-download.timer \
        dnf-automatic-notifyonly.timer dnf5-automatic.timer yum-cron.service packagekit.service \
        transactional-update.timer 2>/dev/null |
        awk -F= '
            $1 == "Id" { id = $2 } $1 == "ActiveState" { active = $2 } $1 == "UnitFileState" { file = $2 }
            $0 == "" && id { print "unit\t" id "\t" active "\t" file; id = "" }
            END { if (id) print "unit\t" id "\t" active "\t" file }'
    for file in /etc/cron.*/opensuse.org-online_update /etc/cron.*/*yum-daily* /etc/cron.*/*yum-hourly*; do
        [ -x "$file" ] && tell cron "$file"
    done
}

look() {
    family=$1
    shift
    tell look 1
    tell uid "$(id -u)"
    tell time "$(date +%s)"
    if [ "$(id -u)" = 0 ]; then
        tell at disk "free space"
        free_space "$@"
        [ -n "$family" ] || family=$(detect)
        tell at "package manager" "locks and damage of ${family:-an unknown package manager}"
        tell family "$family"
        package_manager "$family"
        tell at "package manager" "pending reboot"
        pending_reboot
        tell at "package manager" "rival updaters"
        rival_updaters
    fi
    tell end
}

# The script comes through standard input: nothing it calls may read on there.
look "$@" </dev/null
