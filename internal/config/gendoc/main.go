// Command gendoc writes docs/configuration.md to its standard output.
package main

import (
	"log"
	"os"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

func main() {
	if err := config.WriteReference(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
