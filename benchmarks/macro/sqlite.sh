# row: sqlite speed test (inserts, index, queries, updates; file on the root)
# quick: yes
. /mnt/macro/lib.sh
{
    echo 'create table t(a integer, b integer, c text);'
    for i in $(seq 300); do echo "insert into t values($i, $((i * 7919 % 1000)), 'row $i');"; done
    echo 'begin;'
    echo "with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
        insert into t select i, i * 7919 % 100000, 'some text for row ' || i from n;"
    echo 'commit; create index b on t(b);'
    for i in $(seq 300); do echo "select count(*), avg(a) from t where b between $((i * 100)) and $((i * 100 + 300));"; done
    echo 'begin;'
    for i in $(seq 2000); do echo "update t set c = 'changed' where b = $((i * 37 % 100000));"; done
    echo 'commit; delete from t where a % 3 = 0; vacuum; select count(*) from t;'
} >/tmp/speed.sql
test_speed() { sqlite3 /var/tmp/speed.db </tmp/speed.sql; }
timed test_speed
[ "$(tail -n 1 /tmp/output)" = 40200 ]
