# needs: openssl ssh-keygen
openssl rand -hex 8; openssl genrsa 2048 2>/dev/null | md5sum; openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -subj /CN=x -days 2 2>/dev/null; openssl x509 -in c -noout -subject; openssl speed -seconds 1 sha256 2>/dev/null | tail -1; ssh-keygen -q -t ed25519 -N '' -f key; ssh-keygen -lf key; ssh-keygen -q -t rsa -b 2048 -N '' -f key2; ssh-keygen -lf key2
