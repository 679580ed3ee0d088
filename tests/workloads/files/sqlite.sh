# sqlite3's shell with a database on disk: tables, an index, transactions, joins, random rows.
set -eu
sqlite3 database <<'END'
create table numbers (id integer primary key, square integer, name text);
begin;
with recursive count(n) as (select 1 union all select n + 1 from count where n < 3000)
insert into numbers select n, n * n, 'name ' || n from count;
commit;
create index squares on numbers (square);
select count(*), sum(square) from numbers;
select a.name, b.id from numbers a join numbers b on a.square = b.id order by a.id desc limit 5;
delete from numbers where id % 3 = 0;
vacuum;
select abs(random() % 1000) >= 0, max(name) from numbers;
pragma integrity_check;
END
sqlite3 database 'select total(square) from numbers' \
    'update numbers set name = hex(randomblob(4))' \
    'select group_concat(name) from (select name from numbers limit 20)'
sqlite3 database .schema
