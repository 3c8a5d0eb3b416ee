# After the last version went ($1 is 0). The user owns no file.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ "$1" -eq 0 ]; then
    rm -f /etc/observer/environment
    if [ -d /etc/observer ]; then
        rmdir --ignore-fail-on-non-empty /etc/observer
    fi
    if getent passwd observer >/dev/null; then
        userdel observer
    fi
fi
