<?php
// mysqli (mysqlnd) by its own defaults.
require __DIR__ . '/steps.php';

[, $host, $port, $user, $password, $database] = $argv;
$connection = new mysqli($host, $user, $password, $database, (int) $port);

assert($connection->query('SELECT 6 * 7')->fetch_row() == [42]);
done('text');

$parcel = $connection->prepare('SELECT n FROM parcels WHERE n = ?');
$parcel->execute([42]);
assert($parcel->get_result()->fetch_row() == [42]);
done('prepared');

assert($connection->query('SELECT n, filler FROM parcels')->num_rows == 20000);
done('large');

$connection->begin_transaction();
$connection->query('INSERT INTO entries VALUES (1)');
$connection->rollback();
$connection->begin_transaction();
$connection->query('INSERT INTO entries VALUES (1)');
$connection->commit();
assert($connection->query('SELECT COUNT(*) FROM entries')->fetch_row() == [1]);
done('transaction');

try {
    $connection->query(oversized());
    throw new Exception('the oversized statement has been let through');
} catch (mysqli_sql_exception $error) {
    assert($error->getCode() == TOO_LARGE, $error);
}
$connection->query("SET @mine = 'kept'");
done('oversized');

done('idle');
wait();
assert($connection->query('SELECT @mine')->fetch_row() == ['kept']);
$parcel->execute([43]);
assert($parcel->get_result()->fetch_row() == [43]);
done('survived');
$connection->close();
