<?php
// PDO (mysqlnd) by its own defaults, which prepare statements at the server only if they are told to.
require __DIR__ . '/steps.php';

[, $host, $port, $user, $password, $database] = $argv;
$connection = new PDO("mysql:host=$host;port=$port;dbname=$database", $user, $password);

assert($connection->query('SELECT 6 * 7')->fetchColumn() == 42);
done('text');

$parcel = $connection->prepare('SELECT n FROM parcels WHERE n = ?', [PDO::ATTR_EMULATE_PREPARES => false]);
$parcel->execute([42]);
assert($parcel->fetchAll(PDO::FETCH_COLUMN) == [42]);
done('prepared');

assert(count($connection->query('SELECT n, filler FROM parcels')->fetchAll()) == 20000);
done('large');

$connection->beginTransaction();
$connection->exec('INSERT INTO entries VALUES (1)');
$connection->rollBack();
$connection->beginTransaction();
$connection->exec('INSERT INTO entries VALUES (1)');
$connection->commit();
assert($connection->query('SELECT COUNT(*) FROM entries')->fetchColumn() == 1);
done('transaction');

try {
    $connection->query(oversized());
    throw new Exception('the oversized statement has been let through');
} catch (PDOException $error) {
    assert($error->errorInfo[1] == TOO_LARGE, $error);
}
$connection->exec("SET @mine = 'kept'");
done('oversized');

done('idle');
wait();
assert($connection->query('SELECT @mine')->fetchColumn() == 'kept');
$parcel->execute([43]);
assert($parcel->fetchAll(PDO::FETCH_COLUMN) == [43]);
done('survived');
