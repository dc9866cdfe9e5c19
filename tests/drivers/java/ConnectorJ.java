// MariaDB Connector/J by its own defaults, but for the option without which it does not ask for an RSA key, and the one
// that has it prepare statements at the server.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class ConnectorJ {
    public static void main(String[] args) throws Exception {
        String url = "jdbc:mariadb://" + args[0] + ":" + args[1] + "/" + args[4]
            + "?allowPublicKeyRetrieval=true&useServerPrepStmts=true";
        try (Connection connection = DriverManager.getConnection(url, args[2], args[3]);
                Statement statement = connection.createStatement();
                PreparedStatement parcel = connection.prepareStatement("SELECT n FROM parcels WHERE n = ?")) {
            expect(only(statement.executeQuery("SELECT 6 * 7")), "42");
            done("text");

            parcel.setInt(1, 42);
            expect(only(parcel.executeQuery()), "42");
            done("prepared");

            ResultSet parcels = statement.executeQuery("SELECT n, filler FROM parcels");
            int rows = 0;
            while (parcels.next()) {
                rows++;
            }
            expect(rows, 20_000);
            done("large");

            connection.setAutoCommit(false);
            statement.executeUpdate("INSERT INTO entries VALUES (1)");
            connection.rollback();
            statement.executeUpdate("INSERT INTO entries VALUES (1)");
            connection.commit();
            connection.setAutoCommit(true);
            expect(only(statement.executeQuery("SELECT COUNT(*) FROM entries")), "1");
            done("transaction");

            try {
                statement.executeQuery("SELECT LENGTH('" + "x".repeat(2 << 20) + "')"); // twice what the server takes
                throw new AssertionError("the oversized statement has been let through");
            } catch (SQLException error) { // The driver asks for the limit when it connects, and refuses by itself.
                expect(error.getMessage().contains("max_allowed_packet"), true);
            }
            statement.execute("SET @mine = 'kept'");
            done("oversized");

            done("idle");
            System.in.read(); // the test has started the server anew
            expect(only(statement.executeQuery("SELECT @mine")), "kept");
            parcel.setInt(1, 43);
            expect(only(parcel.executeQuery()), "43");
            done("survived");
        }
    }

    static String only(ResultSet rows) throws SQLException {
        rows.next();
        return rows.getString(1);
    }

    static void expect(Object got, Object wanted) {
        if (!got.equals(wanted)) {
            throw new AssertionError(got + " instead of " + wanted);
        }
    }

    static void done(String step) {
        System.out.println(step);
    }
}
