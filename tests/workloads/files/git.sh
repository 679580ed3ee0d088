# git: a repository made, filled, branched, merged, looked at, packed.
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=$PWD
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
export GIT_PAGER=cat
git init -q -b main repository
cd repository
for i in $(seq 30); do
    mkdir -p "dir$((i % 4))"
    seq "$i" $((i * 20)) >"dir$((i % 4))/file$i"
done
git add .
git commit -q -m first
git checkout -q -b side
sed -i 's/^1/one/' dir1/file*
git commit -q -a -m second
git checkout -q main
echo more >dir2/new
git add dir2/new
git commit -q -m third
git merge -q side -m merged
git log --stat --oneline | tail -20
git diff HEAD~2 --shortstat
git status --short
git gc -q
git fsck 2>&1
git clone -q . ../copy
git -C ../copy rev-parse HEAD
git rev-parse HEAD
