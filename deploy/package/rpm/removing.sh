# Before the last version goes ($1 is 0).
if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
    if [ -d /run/systemd/system ]; then
        systemctl stop observer.service
    fi
    systemctl disable --quiet observer.service
fi
