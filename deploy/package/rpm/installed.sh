# After an installation ($1 is 1) or an upgrade (2): see the Debian package's postinst.
if ! getent passwd observer >/dev/null; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers observer.conf
    else
        useradd --system --user-group --no-create-home --home-dir / \
            --shell /usr/sbin/nologin --comment Observer observer
    fi
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" -gt 1 ]; then
        systemctl try-restart observer.service
    fi
fi
