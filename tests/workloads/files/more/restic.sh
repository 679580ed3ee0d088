# needs: restic
export RESTIC_PASSWORD=x; restic -q init -r repo && mkdir d && cp /etc/*.conf d && restic -q -r repo backup d && restic -r repo snapshots --json && restic -r repo check 2>&1 | tail -3
