;;; smtps-session-keep-test.el --- Tests of transcripts  -*- lexical-binding: t; -*-

;;; Commentary:

;; The golden transcript is the one that Python reads and writes.

;;; Code:

(require 'smtps-session-fake)
(require 'smtps-session-keep)
(require 'smtps-wire)

(defconst smtps-session-keep-test-directory
  (expand-file-name "../wire/" (file-name-directory (or load-file-name buffer-file-name)))
  "Where the golden files lie.")

(defun smtps-session-keep-test-golden (name)
  "Return the text of the golden file NAME."
  (with-temp-buffer
    (let ((coding-system-for-read 'utf-8-unix))
      (insert-file-contents (expand-file-name name smtps-session-keep-test-directory)))
    (buffer-string)))

(defun smtps-session-keep-test-play (text)
  "Let what the transcript TEXT tells happen in this session."
  (dolist (line (split-string (replace-regexp-in-string "\\`\\(?:.+\n\\)*\n" "" text)
                              "\n" t))
    (let ((at (string-trim (substring line 0 6)))
          (text (substring line 7)))
      (if (string-match "\\`\\(recv\\|send\\)> ?\\(.*\\)" text)
          (smtps-session-test-event (intern (match-string 1 text))
                                    :text (match-string 2 text) :verb 'other :led t
                                    :at (string-to-number at))
        (smtps-session-test-event 'info :text text)))))

(ert-deftest smtps-session-keep-test-the-golden-one-is-read ()
  (let ((read (smtps-session-keep-read
               (smtps-session-keep-test-golden "dialogue.transcript"))))
    (should (equal (plist-get read :exchanges)
                   (mapcar #'smtps-wire-read
                           (split-string (smtps-session-keep-test-golden "dialogue.sexp")
                                         "\n" t))))
    (should (equal (list (plist-get read :host) (plist-get read :port)
                         (plist-get read :tls) (plist-get read :date))
                   '("localhost" "587" "starttls" "2026-11-24 09:42:18 UTC")))))

(ert-deftest smtps-session-keep-test-a-copy-of-a-session-is-read ()
  (let* ((golden (smtps-session-keep-test-golden "dialogue.transcript"))
         (copy (replace-regexp-in-string
                "^.\\{7\\}" "" (replace-regexp-in-string "\\`\\(?:.+\n\\)*\n" "" golden))))
    (should (string-prefix-p "Resolving" copy))
    (dolist (text (list copy (string-replace "\n" "\r\n" copy)))
      (should (equal (plist-get (smtps-session-keep-read text) :exchanges)
                     (plist-get (smtps-session-keep-read golden) :exchanges))))
    (should-error (smtps-session-keep-read "From: a@b.c\n\nText\n") :type 'user-error)))

(ert-deftest smtps-session-keep-test-the-golden-one-is-written-by-keys ()
  (let ((golden (smtps-session-keep-test-golden "dialogue.transcript"))
        (directory (make-temp-file "smtps-keep" t)))
    (unwind-protect
        (smtps-session-test-with-helper
          (with-current-buffer (smtps-session "localhost:587")
            ;; Only the last connection's.
            (smtps-session-test-recv "220 before")
            (smtps-session-test-event 'closed :text "- Closed")
            (smtps-session-test-press "g")
            (setcdr smtps-session--began (encode-time '(18 42 9 24 11 2026 nil nil t)))
            (smtps-session-keep-test-play golden)
            (insert "c2VjcmV0")
            (let ((default-directory (file-name-as-directory directory)))
              (execute-kbd-macro (vconcat (kbd "C-x C-w") (kbd "C-a C-k") directory "/kept"
                                          (kbd "RET"))))
            (let ((file (expand-file-name "kept" directory)))
              (should (= (file-modes file) #o600))
              (should (equal (with-temp-buffer
                               (let ((coding-system-for-read 'utf-8-unix))
                                 (insert-file-contents file))
                               (buffer-string))
                             golden))
              (should-not buffer-file-name))
            ;; Its name stands there to be changed, or in a directory of one's choice.
            (let ((default-directory (file-name-as-directory directory))
                  (name "localhost-20261124-[0-9]+\\.transcript"))
              (execute-kbd-macro (kbd "C-x C-w C-e .txt RET"))
              (should (directory-files directory nil (concat "\\`" name "\\.txt\\'")))
              (execute-kbd-macro (vconcat (kbd "C-x C-w C-a C-k") directory (kbd "RET")))
              (should (directory-files directory nil (concat "\\`" name "\\'"))))
            (should-error (smtps-session-save (expand-file-name "no/such" directory))
                          :type 'user-error)))
      (delete-directory directory t))))

(ert-deftest smtps-session-keep-test-a-message-that-was-not-written-down ()
  (should (equal (plist-get (smtps-session-keep-read
                             "recv> 220 x\nsend> DATA\nrecv> 354 go\nrecv> 250 ok\nsend> QUIT\n")
                            :exchanges)
                 '((:sent nil :reply ("220 x") :message nil)
                   (:sent "DATA" :reply ("354 go") :message nil)
                   (:sent "." :reply ("250 ok") :message nil)
                   (:sent "QUIT" :reply nil :message nil)))))

(ert-deftest smtps-session-keep-test-masks ()
  (should (smtps-session-keep-masked-p "auth login <the-base64-username>"))
  (should (smtps-session-keep-masked-p "<typed as the password, which was no longer asked for>"))
  (should-not (smtps-session-keep-masked-p "AUTH PLAIN"))
  (should-not (smtps-session-keep-masked-p "MAIL FROM:<a@b.c> <the-base64-password>"))
  ;; Those of the helper.
  (with-temp-buffer
    (insert-file-contents (expand-file-name "../../python/smtps/protocol/commands.py"
                                            smtps-session-keep-test-directory))
    (dolist (mask smtps-session-keep--masks)
      (should (string-search mask (buffer-string))))
    (should (= (how-many "\": \"<the-" (point-min) (point-max))
               (length smtps-session-keep--masks)))))

;;; smtps-session-keep-test.el ends here
