// go-sql-driver/mysql by its own defaults, in a pool of database/sql.
package main

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"
)

func main() {
	host, port, user, password, database := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s:%s)/%s", user, password, host, port, database))
	check(err)
	db.SetMaxOpenConns(1)

	expect(only(db.QueryRow("SELECT 6 * 7")), "42")
	done("text")

	parcel, err := db.Prepare("SELECT n FROM parcels WHERE n = ?")
	check(err)
	expect(only(parcel.QueryRow(42)), "42")
	done("prepared")

	parcels, err := db.Query("SELECT n, filler FROM parcels")
	check(err)
	count := 0
	for parcels.Next() {
		count++
	}
	check(parcels.Err())
	expect(fmt.Sprint(count), "20000")
	done("large")

	tx, err := db.Begin()
	check(err)
	_, err = tx.Exec("INSERT INTO entries VALUES (1)")
	check(err)
	check(tx.Rollback())
	tx, err = db.Begin()
	check(err)
	_, err = tx.Exec("INSERT INTO entries VALUES (1)")
	check(err)
	check(tx.Commit())
	expect(only(db.QueryRow("SELECT COUNT(*) FROM entries")), "1")
	done("transaction")

	_, err = db.Exec("SELECT LENGTH('" + strings.Repeat("x", 2<<20) + "')") // twice what the server takes
	refusal, ok := err.(*mysql.MySQLError)
	if !ok || refusal.Number != 1153 {
		panic(fmt.Sprint("the oversized statement has been let through: ", err))
	}
	_, err = db.Exec("SET @mine = 'kept'")
	check(err)
	done("oversized")

	done("idle")
	bufio.NewReader(os.Stdin).ReadString('\n') // the test has started the server anew
	expect(only(db.QueryRow("SELECT @mine")), "kept")
	expect(only(parcel.QueryRow(43)), "43")
	done("survived")
	check(db.Close())
}

func only(row *sql.Row) (value string) {
	check(row.Scan(&value))
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(got, wanted string) {
	if got != wanted {
		panic(got + " instead of " + wanted)
	}
}

func done(step string) {
	fmt.Println(step)
}
