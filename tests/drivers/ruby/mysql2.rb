# mysql2, the driver of Rails, by its own defaults.
require "mysql2"

host, port, user, password, database = ARGV
$stdout.sync = true

client = Mysql2::Client.new(host: host, port: port.to_i, username: user, password: password, database: database)

def expect(got, wanted)
  got == wanted or raise "#{got} instead of #{wanted}"
end

expect client.query("SELECT 6 * 7 AS answer").first, { "answer" => 42 }
puts "text"

parcel = client.prepare("SELECT n FROM parcels WHERE n = ?")
expect parcel.execute(42).to_a, [{ "n" => 42 }]
puts "prepared"

expect client.query("SELECT n, filler FROM parcels").count, 20_000
puts "large"

client.query("BEGIN")
client.query("INSERT INTO entries VALUES (1)")
client.query("ROLLBACK")
client.query("BEGIN")
client.query("INSERT INTO entries VALUES (1)")
client.query("COMMIT")
expect client.query("SELECT n FROM entries").count, 1
puts "transaction"

begin
  client.query("SELECT LENGTH('#{"x" * (2 << 20)}')") # twice what the server takes
rescue Mysql2::Error => error
  expect error.error_number, 1153
else
  raise "the oversized statement has been let through"
end
client.query("SET @mine = 'kept'")
puts "oversized"

puts "idle"
$stdin.gets # the test has started the server anew
expect client.query("SELECT @mine AS mine").first, { "mine" => "kept" }
expect parcel.execute(43).to_a, [{ "n" => 43 }]
puts "survived"
client.close
