# DBD::mysql or DBD::MariaDB by their own defaults, which prepare statements at the server only if they are told to.
use v5.36;
use DBI;

my ($host, $port, $user, $password, $database, $driver) = @ARGV;
my $prefix = lc $driver;
my $connection = DBI->connect("dbi:$driver:host=$host;port=$port;database=$database", $user, $password, { RaiseError => 1, PrintError => 0 });
STDOUT->autoflush;

sub value ($sql) { $connection->selectrow_arrayref($sql)->[0] }

sub expect ($got, $wanted) { $got eq $wanted or die "$got instead of $wanted" }

expect value('SELECT 6 * 7'), 42;
say 'text';

my $parcel = $connection->prepare('SELECT n FROM parcels WHERE n = ?', { "${prefix}_server_prepare" => 1 });
$parcel->execute(42);
expect $parcel->fetchall_arrayref->[0][0], 42;
say 'prepared';

expect scalar @{ $connection->selectall_arrayref('SELECT n, filler FROM parcels') }, 20_000;
say 'large';

$connection->begin_work;
$connection->do('INSERT INTO entries VALUES (1)');
$connection->rollback;
$connection->begin_work;
$connection->do('INSERT INTO entries VALUES (1)');
$connection->commit;
expect value('SELECT COUNT(*) FROM entries'), 1;
say 'transaction';

my $oversized = 'x' x (2 << 20);    # twice what the server takes
eval { value("SELECT LENGTH('$oversized')") };
expect $connection->err, 1153;
$connection->do(q{SET @mine = 'kept'});
say 'oversized';

say 'idle';
readline STDIN;                     # the test has started the server anew
expect value('SELECT @mine'), 'kept';
$parcel->execute(43);
expect $parcel->fetchall_arrayref->[0][0], 43;
say 'survived';
$connection->disconnect;
