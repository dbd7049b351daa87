package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
)

// options are the flags of serve that do not go straight into a Config.
type options struct {
	config       hanasim.Config
	databases    []string
	users        []string
	settings     []string
	profile      string
	passwordFile string
}

func serveCommand() (*cobra.Command, error) {
	o := &options{}
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run a system until SIGTERM; prints one line of JSON with its addresses when it is ready",
		Example: `  hanasim serve --database 'SYSTEMDB=1:64MiB' --database 'HXE=2:200MiB,3/xsengine:64MiB' \
    --profile dotname --password-file pw --backup-dir /hana/backup/data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.serve(cmd) },
	}
	f := serve.Flags()
	f.StringVar(&o.config.Listen, "listen", "127.0.0.1", "IPv4 address to listen on")
	f.IntVar(&o.config.Port, "port", 0, "port of SYSTEMDB, 0 for a free one; the others are always free ones")
	f.StringVar(&o.config.SID, "sid", "HXE", "system id")
	f.IntVar(&o.config.Instance, "instance", 90, "instance number")
	f.StringVar(&o.config.Host, "host", "localhost", "HANA's name of its host")
	f.StringArrayVar(&o.databases, "database", []string{"SYSTEMDB=1:64MiB", "HXE=2:200MiB"}, "<name>=<volume>[/<service>]:<size>,…; SYSTEMDB must be among them")
	f.StringVar(&o.profile, "profile", string(files.Plain), fmt.Sprintf("how files are opened and named: %v", files.Profiles()))
	f.StringVar(&o.config.User, "user", "SYSTEM", "user with every privilege")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password of all users (required)")
	f.StringArrayVar(&o.users, "restricted-user", nil, "<name>=<missing privilege>,…: a further user")
	f.StringVar(&o.config.BackupDir, "backup-dir", "", "directory for backups whose prefix has none")
	f.StringVar(&o.config.LogDir, "log-dir", "", "directory for backups of the catalog; none are written without it")
	f.Uint64Var(&o.config.Seed, "seed", 1, "makes contents and delays reproducible")
	f.BoolVar(&o.config.HeaderPass, "header-pass", false, "RECOVER reads all headers before it reads the files")
	f.StringArrayVar(&o.settings, "set", nil, "<key>=<value>: a setting, as SIM SET")
	err := serve.MarkFlagRequired("password-file")
	return serve, err
}

func (o *options) serve(cmd *cobra.Command) error {
	if err := o.fill(); err != nil {
		return err
	}
	log := newLog(cmd.ErrOrStderr())
	system, err := hanasim.Start(o.config, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := system.Close(); err != nil {
			log.Error("close", zap.Error(err))
		}
	}()
	for _, setting := range o.settings {
		key, value, _ := strings.Cut(setting, "=")
		if err := system.Set(key, value); err != nil {
			return err
		}
	}
	if err := announce(cmd.OutOrStdout(), system, o.config.Databases); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return nil
}

// announce prints where the system is reached.
func announce(w io.Writer, system *hanasim.System, databases []hanasim.Database) error {
	addresses := map[string]string{}
	for _, database := range databases {
		addresses[database.Name] = system.Addr(database.Name)
	}
	ready := struct {
		Databases map[string]string `json:"databases"`
		Control   string            `json:"control"`
	}{addresses, system.Control()}
	if err := json.NewEncoder(w).Encode(ready); err != nil {
		return fmt.Errorf("print addresses: %w", err)
	}
	return nil
}

func newLog(w io.Writer) *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zap.InfoLevel))
}

// fill completes the config from the flags.
func (o *options) fill() error {
	var err error
	if o.config.Password, err = readPassword(o.passwordFile); err != nil {
		return err
	}
	if o.config.Profile, err = files.ParseProfile(o.profile); err != nil {
		return err
	}
	for _, text := range o.databases {
		database, err := parseDatabase(text)
		if err != nil {
			return err
		}
		o.config.Databases = append(o.config.Databases, database)
	}
	for _, text := range o.users {
		name, missing, _ := strings.Cut(text, "=")
		o.config.Users = append(o.config.Users, hanasim.User{Name: name, Password: o.config.Password, Missing: strings.Split(missing, ",")})
	}
	return nil
}

func readPassword(file string) (string, error) {
	password, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimSuffix(string(password), "\n"), nil
}

// parseDatabase reads <name>=<volume>[/<service>]:<size>,….
func parseDatabase(text string) (hanasim.Database, error) {
	name, volumes, _ := strings.Cut(text, "=")
	database := hanasim.Database{Name: name}
	for volume := range strings.SplitSeq(volumes, ",") {
		id, size, _ := strings.Cut(volume, ":")
		id, service, _ := strings.Cut(id, "/")
		number, err := strconv.Atoi(id)
		if err != nil {
			return hanasim.Database{}, fmt.Errorf("database %q: volume %q: expected <volume>[/<service>]:<size>", name, volume)
		}
		bytes, err := landscape.ParseSize(size)
		if err != nil {
			return hanasim.Database{}, fmt.Errorf("database %q: %w", name, err)
		}
		database.Volumes = append(database.Volumes, hanasim.Volume{ID: number, Service: service, Size: bytes})
	}
	return database, nil
}
