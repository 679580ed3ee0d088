# needs: npm
npm --version 2>&1 | wc -l
