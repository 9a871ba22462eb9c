# Built from the source of a release. A new release changes `url` and `sha256`: brew bump-formula-pr does both.
class Memcloud < Formula
  desc "Pools the idle RAM of the machines on a LAN into one shared store"
  homepage "https://github.com/memcloud/memcloud"
  license "MIT"
  head "https://github.com/memcloud/memcloud.git", branch: "main"

  # A formula has a stable version once there is a release, whose checksum stands here:
  #   url "https://github.com/memcloud/memcloud/archive/refs/tags/v0.1.0.tar.gz"
  #   sha256 "..."

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "memnode")
    system "cargo", "install", *std_cargo_args(path: "memcli")
    system "cargo", "xtask", "assets"
    man1.install Dir["target/assets/man/man1/*.1"]
    bash_completion.install Dir["target/assets/completions/bash/*"]
    zsh_completion.install Dir["target/assets/completions/zsh/*"]
    fish_completion.install Dir["target/assets/completions/fish/*"]
  end

  # `brew services start memcloud`. It runs as the user who types that, with the files in ~/.memcloud.
  service do
    # In the background the node logs to memnode.log in its folder, where `memcli logs` looks. It does not fork.
    run [opt_bin/"memnode", "--background"]
    # Again where it failed; `memcli node stop` ends it with 0, and then it stays stopped.
    keep_alive successful_exit: false
    # Programs and peers wait for its answers: it is not slowed down like a job that nobody waits for.
    process_type :interactive
  end

  def caveats
    <<~EOS
      Data of other machines is taken, and yours shown, only where a person allowed it: memcli consent
      Stopping, upgrading or removing the node empties what it holds.
      The node's identity and whom it trusts stay in ~/.memcloud when the formula is removed.
    EOS
  end

  test do
    ENV["MEMCLOUD_HOME"] = testpath/"node"
    ENV["MEMCLOUD_API_PORT"] = "off"
    system bin/"memcli", "node", "start", "--port", "0", "--listen", "127.0.0.1", "--memory", "64mb", "--no-discovery"
    begin
      system bin/"memcli", "set", "greeting", "Hello from MemCloud!"
      assert_equal "Hello from MemCloud!", shell_output("#{bin}/memcli get greeting").chomp
    ensure
      system bin/"memcli", "node", "stop"
    end
  end
end
