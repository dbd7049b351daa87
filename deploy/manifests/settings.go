package manifests

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pipestreamer/pipestreamer/internal/config"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// settings are what the sidecar reads when it starts.
type settings struct {
	*config.Config
	// tokens are the files of http.tokens by the name of their identity.
	tokens map[string]string
	// operators and triggers are identities.
	operators, triggers []string
	// audience is that of http.tokenReview.
	audience string
}

// settingsOf loads the settings as the sidecar does, with its environment and with
// the files of its volumes, which are laid out below directory.
func (s *System) settingsOf(directory string, c *corev1.Container, files map[string]source) (*settings, error) {
	file := configFile(c.Args)
	from, mounted := files[file]
	if !mounted {
		return nil, fmt.Errorf("container %s: --config=%s is in no volume", c.Name, file)
	}
	text := s.keys(from.kind, from.object)[from.key]
	if err := checkPaths(text, c, files); err != nil {
		return nil, fmt.Errorf("%s of ConfigMap %s: %w", from.key, from.object, err)
	}
	moved := string(text)
	for name, from := range files {
		target := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(target, s.content(from), 0o600); err != nil {
			return nil, err
		}
		moved = strings.ReplaceAll(moved, " "+name+"\n", " "+target+"\n")
	}
	main := filepath.Join(directory, "settings.yaml")
	if err := os.WriteFile(main, []byte(moved), 0o600); err != nil {
		return nil, err
	}
	loaded, err := config.Load(main, environmentOf(directory, c, files), config.Daemon)
	if err == nil {
		if problems := loaded.FileProblems(); len(problems) > 0 {
			err = &config.Error{Problems: problems}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s of ConfigMap %s: %w", from.key, from.object, err)
	}
	return access(loaded, text)
}

// content is what a file has in it. What only a cluster knows is made up.
func (s *System) content(from source) []byte {
	if text, found := s.keys(from.kind, from.object)[from.key]; found {
		return text
	}
	return []byte("known to the cluster")
}

// environmentOf is the environment of a container: its own variables, those that
// each container has, and where the files lie that settings expect by default.
func environmentOf(directory string, c *corev1.Container, files map[string]source) []string {
	environment := []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443"}
	for _, variable := range c.Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	for file, variable := range map[string]string{
		account + "token":  "PIPESTREAMER_HTTP_TOKEN_REVIEW_TOKEN_FILE",
		account + "ca.crt": "PIPESTREAMER_HTTP_TOKEN_REVIEW_CA_FILE",
	} {
		if _, mounted := files[file]; mounted {
			environment = append(environment, variable+"="+filepath.Join(directory, file))
		}
	}
	return environment
}

// access reads who may do what as the file says it.
func access(loaded *config.Config, text []byte) (*settings, error) {
	var file struct {
		HTTP struct {
			Tokens              map[string]string
			Operators, Triggers []string
			TokenReview         struct{ Audience string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	return &settings{
		Config: loaded, tokens: file.HTTP.Tokens, operators: file.HTTP.Operators, triggers: file.HTTP.Triggers,
		audience: file.HTTP.TokenReview.Audience,
	}, nil
}

// configFile is the value of --config.
func configFile(args []string) string {
	for _, arg := range args {
		if file, is := strings.CutPrefix(arg, "--config="); is {
			return file
		}
	}
	return ""
}

// checkPaths finds every absolute path among the settings in a volume of the
// container: a file in one that has it, a directory where one is mounted.
func checkPaths(text []byte, c *corev1.Container, files map[string]source) error {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return err
	}
	return walk(tree, "", func(key, value string) error {
		_, isFile := files[value]
		if !path.IsAbs(value) || isFile || mount(c, value) != nil {
			return nil
		}
		return fmt.Errorf("%s: %s is in no volume of container %s", key, value, c.Name)
	})
}

func walk(tree map[string]any, prefix string, visit func(key, value string) error) error {
	for name, value := range tree {
		var err error
		switch v := value.(type) {
		case map[string]any:
			err = walk(v, prefix+name+".", visit)
		case string:
			err = visit(prefix+name, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
