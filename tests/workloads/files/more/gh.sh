# needs: gh
gh --version; gh help | head -5
